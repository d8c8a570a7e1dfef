//! `dogsled demo`: shows in seconds, without a Datadog account, what the daemon is for.
//!
//! Everything in it is the real thing but Datadog: applications that post over HTTP, the daemon as `dogsled run` starts
//! it, and the stand-in of `dogsled intake` with its faults. What the story claims is read from the ledger and from what
//! the stand-in received.

mod audit;
mod screen;
mod stage;
mod traffic;

use super::complain;
use crate::intake::{Effect, Filter, Quota, Rule};
use crate::ledger::Balance;
use crate::tenancy::TenantState;
use screen::{Row, Screen};
use serde::Deserialize;
use stage::{Stage, StageError, TENANTS};
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};
use traffic::{POISON, Traffic};

/// Watch the daemon at work on loopback, with three tenants, a rate limit and a revoked key; needs no Datadog account
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How long, in seconds
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(3..=300))]
    seconds: u64,
}

/// The tenant whose logs are limited.
const LIMITED: usize = 0;
/// The tenant whose key is revoked.
const REVOKED: usize = 1;
/// The tenant with a log that Datadog refuses.
const POISONED: usize = 2;

/// Log requests of the limited tenant that are taken in [`period`].
const LIMIT: u64 = 3;

/// How often things are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// How often they are told of where there is no terminal.
const TELL: Duration = Duration::from_secs(2);

/// How long delivery may take after the last item was sent.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is done to the daemon, and when in hundredths of the whole time.
const SCRIPT: [(u32, Step); 6] = [
    (13, Step::Poison),
    (20, Step::Limit),
    (30, Step::Revoke),
    (58, Step::Unlimit),
    (62, Step::Restore),
    (75, Step::Stop),
];

#[derive(Debug, Clone, Copy)]
enum Step {
    Poison,
    Limit,
    Revoke,
    Unlimit,
    Restore,
    Stop,
}

/// Plays. Exit codes: 0 everything arrived where it belongs, 1 something did not, or there was no demonstration.
pub fn main(args: &Args) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(format_args!("the runtime could not be started: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let played = runtime.block_on(async {
        tokio::select! {
            played = play(Duration::from_secs(args.seconds)) => played.map_err(|error| error.to_string()),
            _ = tokio::signal::ctrl_c() => Err("interrupted".to_owned()),
        }
    });
    match played {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            complain(error);
            ExitCode::FAILURE
        }
    }
}

/// Plays for about that time; whether everything ended well.
async fn play(whole: Duration) -> Result<bool, StageError> {
    let mut play = Play {
        stage: Stage::open().await?,
        screen: Screen::new(),
        begun: Instant::now(),
        // Datadog counts in whole seconds.
        period: if whole < Duration::from_secs(12) { 1.0 } else { 2.0 },
        last: Default::default(),
        states: [TenantState::Active; TENANTS.len()],
        throttled: false,
        buried: 0,
        at_revocation: Default::default(),
    };
    play.introduce();
    let traffic = Traffic::start(&play.stage)?;
    let mut script = SCRIPT.into_iter().map(|(at, step)| (whole * at / 100, step)).peekable();
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut next_tell = TELL;
    let sent = 'sending: loop {
        look.tick().await;
        while let Some((_, step)) = script.next_if(|(at, _)| *at <= play.begun.elapsed()) {
            match step {
                Step::Stop => break 'sending traffic.stop().await,
                Step::Poison => traffic.poison(),
                _ => {}
            }
            play.step(step);
        }
        play.observe(&mut next_tell);
    };
    play.step(Step::Stop);
    let deadline = play.begun.elapsed() + PATIENCE;
    while play.stage.balances().iter().any(|balance| balance.queued > 0) && play.begun.elapsed() < deadline {
        look.tick().await;
        play.observe(&mut next_tell);
    }
    play.observe(&mut next_tell);
    let fine = audit::audit(&mut play.screen, &play.stage, &sent);
    play.stage.close().await;
    Ok(fine)
}

/// The demonstration as it goes.
struct Play {
    stage: Stage,
    screen: Screen,
    begun: Instant,
    /// The period of the rate limit, in seconds.
    period: f64,
    /// What happened last, by tenant.
    last: [String; TENANTS.len()],
    states: [TenantState; TENANTS.len()],
    /// Whether a rate limit was told of already.
    throttled: bool,
    /// Dead letters that were told of already.
    buried: u64,
    at_revocation: [Balance; TENANTS.len()],
}

impl Play {
    fn introduce(&mut self) {
        let Stage { intake_url, url, metrics_url, .. } = &self.stage;
        let lines = [
            format!("A stand-in for Datadog listens on {intake_url}, dogsled on {url}."),
            format!("Metrics of the daemon: {metrics_url}"),
            "Three tenants, each with a Datadog organisation and an API key of its own, post logs, metrics, \
             distributions, events and service checks to dogsled: acme names itself by the header X-Tenant, globex by \
             an ingest token, initech by a tag in every item."
                .to_owned(),
        ];
        for line in lines {
            self.say(&line);
        }
    }

    /// Does one step of the script and tells of it.
    fn step(&mut self, step: Step) {
        match step {
            Step::Poison => {
                let effect = Effect::RejectItems { contains: POISON.into() };
                self.fault(POISONED, effect);
                self.say("initech sends one log among many that Datadog does not take.");
            }
            Step::Limit => {
                let quota = Quota {
                    limit: LIMIT,
                    period_s: self.period,
                    name: "demo".into(),
                    headers: true,
                    retry_after: Default::default(),
                    // What was under way when the limit struck is no disobedience.
                    grace_ms: 500,
                };
                self.fault(LIMITED, Effect::Quota(quota));
                let period = self.period;
                self.say(&format!("Datadog limits acme to {LIMIT} log requests in {period} s, and says so with 429."));
                self.last[LIMITED] = "logs are limited".into();
            }
            Step::Revoke => {
                self.at_revocation = self.stage.balances();
                self.stage.set_key(REVOKED, false);
                self.say("Datadog revokes globex's key.");
                self.last[REVOKED] = "key revoked".into();
            }
            Step::Unlimit => {
                let refused = self.refused();
                self.stage.intake.remove_fault(None);
                self.say(&format!(
                    "Datadog lifts acme's limit. It had refused {refused} requests; after the first of them dogsled kept \
                     below the limit by itself."
                ));
                self.last[LIMITED] = "limit lifted".into();
            }
            Step::Restore => {
                let now = self.stage.balances();
                self.stage.set_key(REVOKED, true);
                let meanwhile = |tenant: usize| now[tenant].delivered - self.at_revocation[tenant].delivered;
                let (acme, initech, held) = (meanwhile(LIMITED), meanwhile(POISONED), now[REVOKED].queued);
                self.say(&format!(
                    "globex's key is good again. Meanwhile {acme} items of acme and {initech} of initech were delivered, \
                     and {held} of globex are held."
                ));
                self.last[REVOKED] = "key restored".into();
            }
            Step::Stop => self.say("The applications stop; dogsled delivers what is queued."),
        }
    }

    /// Has the stand-in fail a tenant's logs.
    fn fault(&self, tenant: usize, effect: Effect) {
        let (key, path) = (self.stage.key(tenant).to_owned(), "/api/v2/logs".to_owned());
        self.stage.intake.add_fault(Rule { key: Some(key), path: Some(path), skip: 0, times: None, effect });
    }

    /// Requests of the limited tenant that were answered 429.
    fn refused(&self) -> u64 {
        let key = self.stage.key(LIMITED);
        let received = self.stage.intake.received(&Filter { key: Some(key.to_owned()), kind: None });
        received.keys.get(key).and_then(|counts| counts.total.refused.get(&429)).copied().unwrap_or_default()
    }

    /// Looks at the daemon and tells of what has changed.
    fn observe(&mut self, next_tell: &mut Duration) {
        let balances = self.stage.balances();
        for tenant in 0..TENANTS.len() {
            let (before, state) = (self.states[tenant], self.stage.state(tenant));
            if before == state {
                continue;
            }
            self.states[tenant] = state;
            match (before, state) {
                (_, TenantState::Throttled) if tenant == LIMITED && !self.throttled => {
                    self.throttled = true;
                    self.say(
                        "acme's logs wait for as long as Datadog named. Its other telemetry flows on, and so does that \
                         of globex and initech.",
                    );
                }
                (_, TenantState::Unauthorized) => {
                    self.say(
                        "Datadog confirms that it refuses globex's key: its telemetry is still taken, and held. acme \
                         and initech are unaffected.",
                    );
                    self.last[tenant] = "key refused; held".into();
                }
                (TenantState::Unauthorized, TenantState::Active) => {
                    self.say("dogsled has found that globex's key works again, and delivers what it held.");
                    self.last[tenant] = "key works again".into();
                }
                _ => {}
            }
        }
        let buried = balances[POISONED].dead_lettered;
        if buried > self.buried {
            self.buried = buried;
            self.tell_dead_letter();
        }
        let rows: Vec<_> = (0..TENANTS.len())
            .map(|tenant| Row {
                state: self.states[tenant],
                balance: balances[tenant],
                last: self.last[tenant].clone(),
            })
            .collect();
        let at = self.begun.elapsed();
        if self.screen.is_terminal() || at >= *next_tell {
            *next_tell = at + TELL;
            self.screen.show(at, &rows);
        }
    }

    fn tell_dead_letter(&mut self) {
        #[derive(Deserialize)]
        struct Letter {
            status: Option<u16>,
            reason: String,
        }
        let letters = self.stage.dead_letters(POISONED);
        let letter = letters.lines().last().and_then(|line| serde_json::from_str::<Letter>(line).ok());
        let Some(Letter { status, reason }) = letter else { return };
        let status = status.map(|status| status.to_string()).unwrap_or_default();
        self.say(&format!(
            "dogsled has found the one log by halving its batch, and delivered the others. It is kept in \
             dead-letters/initech.ndjson with Datadog's words: {status} {reason}"
        ));
        self.last[POISONED] = format!("dead letter: {status}");
    }

    fn say(&mut self, text: &str) {
        self.screen.say(self.begun.elapsed(), text);
    }
}
