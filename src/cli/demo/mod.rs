//! `dogsled demo`: shows in seconds, without a Datadog account, what the daemon is for.
//!
//! Everything in it is the real thing but Datadog: applications that post over HTTP, the daemon as `dogsled run` starts
//! it, and the stand-in of `dogsled intake` with its faults. They share one process, so that nothing can be left behind.
//! What the story claims is read from the ledger and from what the stand-in received.

mod audit;
mod screen;
mod stage;
mod traffic;

use super::complain;
use crate::intake::{Effect, Filter, Quota, Rule};
use crate::ledger::Balance;
use crate::tenancy::TenantState;
use crate::types::Endpoint;
use audit::Evidence;
use screen::{Row, Screen};
use stage::{Stage, StageError, TENANTS};
use std::io;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval};
use traffic::{POISON, Traffic};

/// Watch the daemon at work on loopback: three tenants, a storm of 429s, a revoked key; needs no Datadog account
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How long, in seconds
    #[arg(long, default_value_t = 15, value_name = "N", value_parser = clap::value_parser!(u64).range(5..=300))]
    seconds: u64,
}

/// The tenant that is limited.
const LIMITED: usize = 0;
/// The tenant whose key is revoked.
const REVOKED: usize = 1;
/// The tenant with a log that Datadog refuses.
const POISONED: usize = 2;

/// Where the storm of 429s rages.
const STORM: [Endpoint; 3] = [Endpoint::Logs, Endpoint::SeriesV2, Endpoint::Distributions];

/// Log requests of the limited tenant that are taken in a period when the storm is over.
const LIMIT: u64 = 3;

/// How often things are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// How often they are told of where there is no terminal.
const TELL: Duration = Duration::from_secs(2);

/// How long delivery may take after the last item was sent.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is done to the daemon, and when in hundredths of the whole time.
const SCRIPT: [(u32, Step); 7] = [
    (8, Step::Poison),
    (18, Step::Storm),
    (30, Step::Revoke),
    (44, Step::Limit),
    (58, Step::Restore),
    (68, Step::Unlimit),
    (85, Step::Stop),
];

#[derive(Debug, Clone, Copy)]
enum Step {
    Poison,
    Storm,
    Revoke,
    Limit,
    Restore,
    Unlimit,
    Stop,
}

/// Why there was no demonstration, or no end of it.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error(transparent)]
    Stage(#[from] StageError),
    #[error("the runtime could not be started: {0}")]
    Runtime(#[from] io::Error),
    #[error("interrupted before the end, so nothing is proven")]
    Interrupted,
}

/// Plays. Exit codes: 0 everything arrived where it belongs, 1 something did not, or there was no demonstration.
pub fn main(args: &Args) -> ExitCode {
    match run(Duration::from_secs(args.seconds)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            complain(error);
            ExitCode::FAILURE
        }
    }
}

fn run(whole: Duration) -> Result<bool, DemoError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        let stage = Stage::open().await?;
        let fine = tokio::select! {
            fine = Play::new(&stage, whole).play() => fine.map_err(DemoError::Stage),
            _ = interrupt.recv() => Err(DemoError::Interrupted),
            _ = terminate.recv() => Err(DemoError::Interrupted),
            _ = hang_up.recv() => Err(DemoError::Interrupted),
        };
        stage.close().await;
        fine
    })
}

/// The demonstration as it goes.
struct Play<'a> {
    stage: &'a Stage,
    screen: Screen,
    begun: Instant,
    /// About how long it takes.
    whole: Duration,
    /// The period of the rate limits, in seconds; Datadog counts in whole ones.
    period: f64,
    /// What is going on, by tenant.
    last: [&'static str; TENANTS.len()],
    states: [TenantState; TENANTS.len()],
    /// Whether waiting was told of already.
    throttled: bool,
    /// Whether the dead letter was told of already.
    buried: bool,
    /// Requests of the limited tenant that the storm refused.
    refused: u64,
    at_revocation: [Balance; TENANTS.len()],
    next_tell: Duration,
}

impl<'a> Play<'a> {
    fn new(stage: &'a Stage, whole: Duration) -> Self {
        Self {
            stage,
            screen: Screen::new(),
            begun: Instant::now(),
            whole,
            period: if whole < Duration::from_secs(12) { 1.0 } else { 2.0 },
            last: Default::default(),
            states: [TenantState::Active; TENANTS.len()],
            throttled: false,
            buried: false,
            refused: 0,
            at_revocation: Default::default(),
            next_tell: TELL,
        }
    }

    /// Plays to the end; whether everything ended well.
    async fn play(mut self) -> Result<bool, StageError> {
        self.introduce();
        let traffic = Traffic::start(self.stage)?;
        let whole = self.whole;
        let mut script = SCRIPT.into_iter().map(|(at, step)| (whole * at / 100, step)).peekable();
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while script.peek().is_some() {
            look.tick().await;
            while let Some((_, step)) = script.next_if(|(at, _)| *at <= self.begun.elapsed()) {
                self.step(step, &traffic);
            }
            self.observe();
        }
        let sent = traffic.stop().await;
        let deadline = self.begun.elapsed() + PATIENCE;
        while self.stage.balances().iter().any(|balance| balance.queued > 0) && self.begun.elapsed() < deadline {
            look.tick().await;
            self.observe();
        }
        let evidence = audit::gather(self.stage, &sent);
        let checks = audit::judge(&evidence, self.stage.too_early());
        self.ledger(&evidence);
        for check in &checks {
            self.screen.verdict(check.holds, &check.words);
        }
        if let Some(words) = &sent.failure {
            self.screen.verdict(false, &format!("a request was not taken: {words}"));
        }
        Ok(sent.failure.is_none() && checks.iter().all(|check| check.holds))
    }

    fn introduce(&mut self) {
        let Stage { intake_url, url, metrics_url, .. } = self.stage;
        self.screen.head("Three tenants, one dogsled, and a stand-in for Datadog: all on loopback.\n");
        for line in [
            format!("Datadog   {intake_url}, one organisation and one API key a tenant"),
            format!("dogsled   {url}, metrics at {metrics_url}"),
            "acme      posts with the header X-Tenant: acme".to_owned(),
            "globex    posts with an ingest token as its API key".to_owned(),
            "initech   posts items with the tag tenant:initech\n".to_owned(),
        ] {
            self.screen.note(&line);
        }
        self.say("all", "about 340 logs, metrics, events and checks a second of each");
    }

    /// Does one step of the script and tells of it.
    fn step(&mut self, step: Step, traffic: &Traffic) {
        match step {
            Step::Poison => {
                self.fault(POISONED, Endpoint::Logs, Effect::RejectItems { contains: POISON.into() });
                traffic.poison();
                self.say("initech", "sends one log that Datadog refuses, in a batch of good ones");
                self.last[POISONED] = "poison log";
            }
            Step::Storm => {
                for endpoint in STORM {
                    self.fault(LIMITED, endpoint, Effect::Quota(self.quota(0)));
                }
                self.say("acme", "429 for every request with logs or metrics");
                self.last[LIMITED] = "429 storm";
            }
            Step::Revoke => {
                self.at_revocation = self.stage.balances();
                self.stage.set_key(REVOKED, false);
                self.say("globex", "API key revoked");
                self.last[REVOKED] = "key revoked";
            }
            Step::Limit => {
                self.refused = self.refusals();
                self.stage.intake.remove_fault(None);
                self.fault(LIMITED, Endpoint::Logs, Effect::Quota(self.quota(LIMIT)));
                let (refused, period) = (self.refused, self.period);
                self.say("acme", &format!("storm over, {refused} × 429; now {LIMIT} log requests in {period} s"));
                self.last[LIMITED] = "rate limit → paced";
            }
            Step::Restore => {
                let now = self.stage.balances();
                self.stage.set_key(REVOKED, true);
                let since = |tenant: usize| now[tenant].delivered - self.at_revocation[tenant].delivered;
                let (held, others) = (now[REVOKED].queued, since(LIMITED) + since(POISONED));
                self.say("globex", &format!("key restored: {held} items held, {others} of others delivered"));
                self.last[REVOKED] = "key restored";
            }
            Step::Unlimit => {
                let more = self.refusals() - self.refused;
                self.stage.intake.remove_fault(None);
                self.say("acme", &format!("limit lifted; {more} × 429 under it: dogsled paced itself"));
                self.last[LIMITED] = "";
            }
            Step::Stop => self.say("all", "nobody posts any more; what is queued is delivered"),
        }
    }

    /// A rate limit that tells of itself as Datadog does.
    fn quota(&self, limit: u64) -> Quota {
        Quota {
            limit,
            period_s: self.period,
            name: "demo".into(),
            headers: true,
            retry_after: Default::default(),
            // What was under way when the limit struck is no disobedience.
            grace_ms: 500,
        }
    }

    /// Has the stand-in fail one endpoint of a tenant.
    fn fault(&self, tenant: usize, endpoint: Endpoint, effect: Effect) {
        let (key, path) = (self.stage.key(tenant).to_owned(), endpoint.path().to_owned());
        self.stage.intake.add_fault(Rule { key: Some(key), path: Some(path), skip: 0, times: None, effect });
    }

    /// Requests of the limited tenant that were answered 429.
    fn refusals(&self) -> u64 {
        let key = self.stage.key(LIMITED);
        let received = self.stage.intake.received(&Filter { key: Some(key.to_owned()), kind: None });
        received.keys.get(key).and_then(|counts| counts.total.refused.get(&429)).copied().unwrap_or_default()
    }

    /// Looks at the daemon and tells of what has changed.
    fn observe(&mut self) {
        let balances = self.stage.balances();
        for tenant in 0..TENANTS.len() {
            let state = self.stage.state(tenant);
            let before = std::mem::replace(&mut self.states[tenant], state);
            match (before, state) {
                (_, TenantState::Throttled) if !self.throttled => {
                    self.throttled = true;
                    self.say("acme", "→ throttled: waits as long as Datadog says; the others flow");
                }
                (before, TenantState::Unauthorized) if before != state => {
                    self.say("globex", "→ unauthorized: telemetry is still taken, and held");
                    self.last[tenant] = "key revoked → held";
                }
                (TenantState::Unauthorized, TenantState::Active) => {
                    self.say("globex", "→ active: dogsled noticed, and delivers what it held");
                    self.last[tenant] = "";
                }
                _ => {}
            }
        }
        if balances[POISONED].dead_lettered > 0 && !self.buried {
            self.buried = true;
            self.say("initech", "→ found by halving its batch, set aside; the rest arrived");
            self.last[POISONED] = "1 dead letter";
        }
        let row =
            |tenant: usize| Row { state: self.states[tenant], balance: balances[tenant], last: self.last[tenant] };
        let at = self.begun.elapsed();
        if self.screen.is_terminal() || at >= self.next_tell {
            let rows: Vec<_> = (0..TENANTS.len()).map(row).collect();
            self.next_tell = at + TELL;
            self.screen.show(at, self.whole, &rows);
        }
    }

    /// The ledger, and beside it what the stand-in received, counted by identifiers.
    fn ledger(&mut self, evidence: &[Evidence]) {
        self.screen.head("\ntenant   accepted = delivered + queued + dead-lettered + dropped | Datadog has");
        for (Evidence { balance, received, .. }, tenant) in evidence.iter().zip(TENANTS) {
            let Balance { accepted, delivered, queued, dead_lettered, .. } = balance;
            let dropped: u64 = balance.dropped.iter().sum();
            let arrived = received.len();
            self.screen.note(&format!(
                "{tenant:<8} {accepted:>8}   {delivered:>9}   {queued:>6}   {dead_lettered:>13}   {dropped:>7} | {arrived:>11}"
            ));
        }
        self.screen.note("");
    }

    fn say(&mut self, tenant: &str, text: &str) {
        self.screen.say(self.begun.elapsed(), tenant, text);
    }
}
