//! What a seed makes of the world: its configuration, its traffic, its faults and its ends.

use super::faults::{Fault, NOT_THE_PAYLOAD, Phase, Rules, TELLINGS};
use super::machine::EPOCH;
use super::oracle::{End, Oracle};
use super::permission::{Change, TROUBLES};
use crate::journal::{Faults, Fsync};
use crate::settings::{Settings, WhenFull};
use crate::types::{Encoding, Endpoint, Kind, UnixMillis};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Telemetry comes, and things go wrong, for so long.
pub(super) const STORM: Duration = Duration::from_secs(150);

/// An item of so many bytes is more than some endpoints take.
const HUGE: usize = 1_300_000;

/// A quota's age that something reaches. What is tried again and again may be older.
pub(super) const SHORT: Duration = Duration::from_secs(45);

/// One in so many items is poison.
const POISON: u32 = 400;

pub(super) struct Plan {
    pub(super) seed: u64,
    pub(super) settings: Settings,
    pub(super) fsync: Fsync,
    pub(super) segment_bytes: u64,
    pub(super) rules: Rules,
    pub(super) emitters: Vec<VecDeque<Request>>,
    pub(super) disk: VecDeque<(Duration, Option<Faults>)>,
    /// From when on the wall clock is wrong by so many milliseconds.
    pub(super) clock: VecDeque<(Duration, i64)>,
    pub(super) ends: VecDeque<(Duration, End)>,
    /// What is done to which tenant.
    pub(super) changes: VecDeque<(Duration, usize, Change)>,
}

/// What an emitter sends at once.
pub(super) struct Request {
    pub(super) at: Duration,
    pub(super) runs: Vec<Run>,
}

/// Items of one kind.
#[derive(Clone)]
pub(super) struct Run {
    pub(super) tenant: usize,
    pub(super) kind: Kind,
    pub(super) ids: Vec<u64>,
    pub(super) bytes: bytes::Bytes,
    /// The earliest time that an item says of itself.
    pub(super) oldest: Option<UnixMillis>,
    /// Somebody wants to hear what becomes of them.
    pub(super) followed: bool,
}

impl Plan {
    pub(super) fn new(seed: u64, oracle: &mut Oracle, state_dir: &std::path::Path) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let rng = &mut rng;
        let tenants = rng.random_range(2..5);
        let mut settings = Settings::default();
        settings.state.dir = state_dir.into();
        settings.delivery.timeout = Duration::from_secs(10);
        settings.delivery.retry_initial = Duration::from_millis(500);
        settings.delivery.retry_max = Duration::from_secs(15);
        settings.delivery.validate_interval = Duration::from_secs(60);
        settings.delivery.concurrency_per_tenant = rng.random_range(1..5);
        settings.delivery.concurrency = *pick(rng, &[1, 2, 4, 8, 12]);
        settings.batch.max_age = Duration::from_millis(rng.random_range(100..3000));
        settings.memory.max_queue_bytes = *pick(rng, &[60_000, 300_000, 20_000_000]);
        settings.journal.max_bytes_per_tenant = *pick(rng, &[150_000, 600_000, 50_000_000]);
        settings.journal.max_bytes = 3 * settings.journal.max_bytes_per_tenant;
        settings.journal.max_age = *pick(rng, &[settings.journal.max_age, settings.journal.max_age, SHORT]);
        settings.delivery.drop_late = rng.random();
        settings.journal.when_full = *pick(rng, &[WhenFull::Reject, WhenFull::DropOldest]);
        let interval = Fsync::Interval(Duration::from_millis(200));
        let fsync = *pick(rng, &[Fsync::Always, interval, interval, Fsync::Never]);
        let rules = rules(rng, tenants, &settings);
        let emitters = (0..tenants * 2).map(|emitter| requests(rng, emitter % tenants, tenants, oracle)).collect();
        Self {
            seed,
            fsync,
            segment_bytes: *pick(rng, &[8 << 10, 64 << 10, 4 << 20]),
            rules,
            emitters,
            disk: disk(rng),
            clock: clock(rng),
            ends: ends(rng),
            changes: changes(rng, tenants),
            settings,
        }
    }
}

fn pick<'a, T>(rng: &mut StdRng, all: &'a [T]) -> &'a T {
    &all[rng.random_range(0..all.len())]
}

fn at(rng: &mut StdRng, from: f64, to: f64) -> Duration {
    STORM.mul_f64(rng.random_range(from..to))
}

fn rules(rng: &mut StdRng, tenants: usize, settings: &Settings) -> Rules {
    let mut phases = Vec::new();
    for _ in 0..rng.random_range(3..14) {
        let fault = match rng.random_range(0..18) {
            15 => Fault::Status(*pick(rng, &NOT_THE_PAYLOAD)),
            16 => Fault::Page(*pick(rng, &[200, 202, 400, 502])),
            17 => Fault::Refuse(*pick(rng, &[400, 413])),
            0 => Fault::Status(*pick(rng, &[500, 502, 504])),
            1 => Fault::Status(*pick(rng, &[503, 408, 302])),
            2 => Fault::Hang,
            3 => Fault::Unreachable,
            4 => Fault::LoseAnswers,
            5 => Fault::Slow(rng.random_range(500..12_000)),
            6 => Fault::Throttle(rng.random_range(1..30), *pick(rng, &TELLINGS)),
            7 => Fault::Busy,
            8 => Fault::Small(rng.random_range(2000..40_000)),
            9 => Fault::SmallSent(rng.random_range(1000..20_000)),
            10 => Fault::Fussy,
            11 => Fault::Forbidden(*pick(rng, &[401, 403])),
            _ => Fault::Revoked,
        };
        let from = at(rng, 0.0, 0.9);
        let whole = matches!(fault, Fault::Revoked);
        phases.push(Phase {
            from,
            to: (from + Duration::from_secs(rng.random_range(2..60))).min(STORM),
            tenant: (whole || rng.random_range(0..3) > 0).then(|| rng.random_range(0..tenants)),
            endpoint: (!whole && rng.random()).then(|| pick(rng, &Kind::ALL).endpoint()),
            fault,
        });
    }
    let mut quotas = BTreeMap::new();
    for kind in Kind::ALL {
        if rng.random_range(0..4) == 0 {
            quotas.insert(kind.endpoint() as u8, rng.random_range(10..60));
        }
    }
    // One event is one request.
    quotas.retain(|endpoint, _| ![Endpoint::EventsV1 as u8, Endpoint::EventsV2 as u8].contains(endpoint));
    let encodings: [&[Encoding]; 4] = [&[], &[], &[Encoding::Zstd], &[Encoding::Deflate]];
    Rules {
        tenants,
        phases,
        noise: *pick(rng, &[5, 20, 100]),
        calm: STORM,
        quotas,
        refused_encodings: pick(rng, &encodings).to_vec(),
        app_key_wanted: rng.random(),
        ahead: *pick(rng, &[0, 3600]),
        concurrency: settings.delivery.concurrency_per_tenant,
        timeout: settings.delivery.timeout,
        drop_late: settings.delivery.drop_late,
    }
}

fn requests(rng: &mut StdRng, tenant: usize, tenants: usize, oracle: &mut Oracle) -> VecDeque<Request> {
    let kinds: Vec<Kind> = (0..4).map(|_| *pick(rng, &Kind::ALL)).collect();
    let pause = *pick(rng, &[300, 1000, 3000]);
    let mut requests = VecDeque::new();
    let mut at = Duration::ZERO;
    loop {
        at += Duration::from_millis(if rng.random_range(0..4) == 0 { 0 } else { rng.random_range(0..2 * pause) });
        if at >= STORM {
            return requests;
        }
        let kind = *pick(rng, &kinds);
        let mut runs = vec![run(rng, tenant, kind, at, oracle)];
        if rng.random_range(0..10) == 0 {
            let other = rng.random_range(0..tenants);
            let kind = *pick(rng, &kinds);
            runs.push(run(rng, other, kind, at, oracle));
        }
        requests.push_back(Request { at, runs });
    }
}

fn run(rng: &mut StdRng, tenant: usize, kind: Kind, at: Duration, oracle: &mut Oracle) -> Run {
    let most = kind.limits().items.min(12);
    let mut oldest = None;
    let count = rng.random_range(1..=most);
    let mut ids = Vec::new();
    let mut bytes = Vec::new();
    for index in 0..count {
        let poison = rng.random_range(0..POISON) == 0;
        // An item that becomes too old while it waits, or was before.
        let ripe = (kind == Kind::Logs && rng.random_range(0..30) == 0)
            .then(|| at + Duration::from_secs(rng.random_range(0..60)));
        let id = oracle.add(tenant, kind, poison, ripe);
        let size = match rng.random_range(0..2000) {
            0 => HUGE,
            1..40 => rng.random_range(5_000..40_000),
            _ => rng.random_range(0..600),
        };
        let size = if kind.limits().items == 1 { size.min(1_000_000) } else { size };
        if size / 2 > kind.limits().compressed {
            oracle.doomed(id);
        }
        let text = format!("(id={id}){}", padding(rng, size));
        if index > 0 {
            bytes.extend_from_slice(kind.separator());
        }
        if kind.is_protobuf() {
            field(&mut bytes, &field_of(text.as_bytes()));
        } else if let Some(ripe) = ripe {
            // Of its own time, which is 18 hours earlier.
            let time = UnixMillis(EPOCH + ripe.as_millis() as i64).minus(kind.max_age());
            oldest = Some(oldest.unwrap_or(time).min(time));
            bytes.extend_from_slice(format!("{{\"message\":\"{text}\",\"timestamp\":{}}}", time.0).as_bytes());
        } else {
            bytes.extend_from_slice(format!("{{\"message\":\"{text}\"}}").as_bytes());
        }
        ids.push(id);
    }
    Run { tenant, kind, ids, bytes: bytes.into(), oldest, followed: rng.random_range(0..8) == 0 }
}

fn field_of(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    field(&mut bytes, text);
    bytes
}

/// A length-delimited protobuf field of number 1.
fn field(to: &mut Vec<u8>, content: &[u8]) {
    to.push(0x0a);
    let mut length = content.len();
    while length >= 0x80 {
        to.push(length as u8 | 0x80);
        length >>= 7;
    }
    to.push(length as u8);
    to.extend_from_slice(content);
}

/// Hexadecimal digits, which compress to half.
fn padding(rng: &mut StdRng, size: usize) -> String {
    let mut text = String::with_capacity(size + 16);
    while text.len() < size {
        text.push_str(&format!("{:016x}", rng.random::<u64>()));
    }
    text
}

fn disk(rng: &mut StdRng) -> VecDeque<(Duration, Option<Faults>)> {
    let mut times: Vec<Duration> = (0..2 * rng.random_range(0..3)).map(|_| at(rng, 0.0, 1.0)).collect();
    times.sort_unstable();
    let mut changes = VecDeque::new();
    for (index, time) in times.into_iter().enumerate() {
        let faults = match rng.random_range(0..5) {
            0 => Faults { quota: Some(rng.random_range(0..200_000)), ..Faults::default() },
            1 => Faults { read_only: true, ..Faults::default() },
            2 => Faults { sync_error_in: Some(rng.random_range(1..8)), ..Faults::default() },
            3 => Faults {
                sync_error_in: Some(rng.random_range(2..8)),
                write_error_in: Some(rng.random_range(2..20)),
                reserves: false,
                ..Faults::default()
            },
            _ => Faults { write_error_in: Some(rng.random_range(2..20)), ..Faults::default() },
        };
        changes.push_back((time, (index % 2 == 0).then_some(faults)));
    }
    changes
}

/// Each error of the clock is put right some time later.
fn clock(rng: &mut StdRng) -> VecDeque<(Duration, i64)> {
    let mut times: Vec<Duration> = (0..2 * rng.random_range(0..4)).map(|_| at(rng, 0.0, 1.0)).collect();
    times.sort_unstable();
    let errors = times.into_iter().enumerate().map(|(index, time)| {
        let error = pick(rng, &[-259_200_000, -3_600_000, 3_600_000, 259_200_000]);
        (time, if index % 2 == 0 { *error } else { 0 })
    });
    errors.collect()
}

fn ends(rng: &mut StdRng) -> VecDeque<(Duration, End)> {
    let mut times: Vec<Duration> = (0..rng.random_range(0..6)).map(|_| at(rng, 0.02, 1.0)).collect();
    times.sort_unstable();
    times.into_iter().map(|time| (time, *pick(rng, &[End::Shutdown, End::Kill, End::PowerLoss]))).collect()
}

/// Trouble for tenants, each of it with its end.
fn changes(rng: &mut StdRng, tenants: usize) -> VecDeque<(Duration, usize, Change)> {
    let mut changes = Vec::new();
    for _ in 0..rng.random_range(0..6) {
        let (from, tenant) = (at(rng, 0.0, 0.9), rng.random_range(0..tenants));
        let to = (from + Duration::from_millis(rng.random_range(1..40_000))).min(STORM);
        changes.push((from, tenant, *pick(rng, &TROUBLES)));
        changes.push((to, tenant, Change::Restore));
    }
    changes.sort_by_key(|(at, ..)| *at);
    changes.into()
}
