//! The demonstration as it goes: does what the script says, looks at what the daemon does, and tells of both.

use super::audit::{self, Evidence};
use super::connect::{ConnectError, Shown};
use super::screen::{Row, Screen};
use super::script::{Event, LIMITED, POISONED, REVOKED, Script, Step};
use super::stage::{Stage, StageError, TENANTS};
use super::traffic::{POISON, Traffic};
use crate::fakeintake::{Effect, Filter, Quota, Rule};
use crate::ledger::Balance;
use crate::tenancy::TenantState;
use crate::types::Endpoint;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Where the storm of 429s rages.
const STORM: [Endpoint; 3] = [Endpoint::Logs, Endpoint::SeriesV2, Endpoint::Distributions];

/// Log requests of the limited tenant that are taken in a period when the storm is over.
const LIMIT: u64 = 3;

/// The life of the first access token of the limited tenant, in seconds.
const SHORT_LIFE: u64 = 6;

/// How often things are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// How often they are told of where there is no terminal.
const TELL: Duration = Duration::from_secs(2);

/// How long delivery may take after the last item was sent.
const PATIENCE: Duration = Duration::from_secs(30);

/// The demonstration as it goes.
pub(super) struct Play<'a> {
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
    seen: Vec<Event>,
    /// Keys and tokens as each tenant got them by its first click.
    first: [Shown; TENANTS.len()],
    /// The faults that limit a tenant now.
    limits: Vec<u64>,
    /// Requests of the limited tenant that the storm refused.
    refused: u64,
    at_revocation: [Balance; TENANTS.len()],
    /// What of the tenant without authorisation was delivered, and what was held, at the second click.
    at_click: Option<(u64, u64)>,
    next_tell: Duration,
}

impl<'a> Play<'a> {
    pub(super) fn new(stage: &'a Stage, whole: Duration) -> Self {
        Self {
            stage,
            screen: Screen::new(),
            begun: Instant::now(),
            whole,
            period: if whole < Duration::from_secs(12) { 1.0 } else { 2.0 },
            last: Default::default(),
            states: [TenantState::Active; TENANTS.len()],
            seen: Vec::new(),
            first: Default::default(),
            limits: Vec::new(),
            refused: 0,
            at_revocation: Default::default(),
            at_click: None,
            next_tell: TELL,
        }
    }

    /// Plays to the end; whether everything ended well.
    pub(super) async fn play(mut self) -> Result<bool, StageError> {
        self.introduce();
        self.connect_all().await?;
        let traffic = Traffic::start(self.stage, self.stage.application.ingest_token(TENANTS[REVOKED]).await?)?;
        self.say("all", "about 360 logs, metrics, events and checks a second of each, by HTTP and DogStatsD");
        let mut script = Script::new(self.whole);
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !script.is_over() {
            look.tick().await;
            while let Some(step) = script.next(self.begun.elapsed(), &self.seen) {
                self.step(step, &traffic).await?;
            }
            self.observe().await?;
        }
        let sent = traffic.stop().await;
        let deadline = self.begun.elapsed() + PATIENCE;
        // What was sent by DogStatsD is accepted when its bucket has closed.
        let is_open = |stage: &Stage| {
            let balances = stage.balances().into_iter().zip(&sent.accepted);
            balances.into_iter().any(|(of, sent)| of.queued > 0 || of.accepted < sent.len() as u64)
        };
        while is_open(self.stage) && self.begun.elapsed() < deadline {
            look.tick().await;
            self.observe().await?;
        }
        let evidence = audit::gather(self.stage, &sent);
        let mut checks = audit::judge(&evidence, self.stage.too_early());
        checks.push(audit::answered(&self.seen));
        self.ledger(&evidence);
        for check in &checks {
            self.screen.verdict(check.holds, &check.words);
        }
        if let Some(words) = &sent.failure {
            self.screen.verdict(false, &format!("a request was refused: {words}"));
        }
        Ok(sent.failure.is_none() && checks.iter().all(|check| check.holds))
    }

    fn introduce(&mut self) {
        let Stage { intake_url, url, admin_url, connect_url, .. } = self.stage;
        self.screen.head("Three tenants, one dogsled, and a stand-in for Datadog: all on loopback.\n");
        for line in [
            format!("Datadog   {intake_url}, one organisation a tenant"),
            format!("dogsled   {url}, admin and metrics at {admin_url}"),
            format!("          {connect_url} for customers who come back"),
            "acme      posts with the header X-Tenant: acme".to_owned(),
            "globex    posts with an ingest token as its API key".to_owned(),
            "initech   posts items with the tag tenant:initech\n".to_owned(),
        ] {
            self.screen.note(&line);
        }
    }

    /// Connects every tenant, and tells of the first one's way.
    async fn connect_all(&mut self) -> Result<(), ConnectError> {
        let application = &self.stage.application;
        for (tenant, name) in TENANTS.into_iter().enumerate() {
            if tenant == LIMITED {
                self.stage.set_token_life(Some(SHORT_LIFE));
                let url = application.begin(name).await?;
                self.say(name, "clicks Connect, and is sent to Datadog");
                let location = application.approve(&url, name).await?;
                self.say(name, "approves on Datadog's page, and is sent back with a code");
                application.come_back(name, &location).await?;
                self.say(name, "→ connected: code exchanged, API key created and encrypted");
                self.stage.set_token_life(None);
            } else {
                self.connect(tenant).await?;
                self.say(name, "→ connected the same way");
            }
            self.first[tenant] = application.show(name).await?;
        }
        Ok(())
    }

    /// One customer's click, approval and return.
    async fn connect(&self, tenant: usize) -> Result<(), ConnectError> {
        let (application, name) = (&self.stage.application, TENANTS[tenant]);
        let url = application.begin(name).await?;
        let location = application.approve(&url, name).await?;
        application.come_back(name, &location).await
    }

    /// Does one step of the script and tells of it.
    async fn step(&mut self, step: Step, traffic: &Traffic) -> Result<(), ConnectError> {
        match step {
            Step::Poison => {
                self.fault(POISONED, Endpoint::Logs, Effect::RejectItems { contains: POISON.into() });
                traffic.poison();
                self.say("initech", "sends one log that Datadog refuses, in a batch of good ones");
                self.last[POISONED] = "poison log";
            }
            Step::Storm => {
                let storm = STORM.map(|endpoint| self.fault(LIMITED, endpoint, Effect::Quota(self.quota(0))));
                self.limits.extend(storm);
                self.say("acme", "429 for every request with logs or metrics");
                self.last[LIMITED] = "429 storm";
            }
            Step::RevokeKey => {
                self.stage.revoke_key(REVOKED);
                self.say("globex", "API key revoked in Datadog");
                self.last[REVOKED] = "key revoked";
            }
            Step::Limit => {
                self.refused = self.refusals();
                self.lift_limits();
                self.limits.push(self.fault(LIMITED, Endpoint::Logs, Effect::Quota(self.quota(LIMIT))));
                let (refused, period) = (self.refused, self.period);
                self.say("acme", &format!("storm over, {refused} × 429; now {LIMIT} log requests in {period} s"));
                self.last[LIMITED] = "rate limit → paced";
            }
            Step::RevokeAuthorisation => {
                self.at_revocation = self.stage.balances();
                self.stage.revoke_authorisation(POISONED);
                self.say("initech", "authorisation and API key revoked in Datadog");
                self.last[POISONED] = "authorisation revoked";
            }
            Step::Reconnect => {
                let now = self.stage.balances();
                let Balance { delivered, queued, .. } = now[POISONED];
                let since = |tenant: usize| now[tenant].delivered - self.at_revocation[tenant].delivered;
                let others = since(LIMITED) + since(REVOKED);
                self.say("initech", &format!("{queued} items held, {others} of others delivered; clicks Connect"));
                self.at_click = Some((delivered, queued));
                self.connect(POISONED).await?;
                self.say("initech", "→ connected again, with a new key");
                self.last[POISONED] = "connected again";
            }
            Step::Unlimit => {
                let more = self.refusals() - self.refused;
                self.lift_limits();
                self.say("acme", &format!("limit lifted; {more} × 429 under it: dogsled paced itself"));
                self.last[LIMITED] = "";
            }
            Step::Stop => self.say("all", "applications have stopped; the queue is delivered"),
        }
        Ok(())
    }

    /// A rate limit that tells of itself as Datadog does.
    fn quota(&self, limit: u64) -> Quota {
        Quota {
            limit,
            period_s: self.period,
            name: "demo".into(),
            headers: true,
            retry_after: Default::default(),
            // Requests in flight when the limit struck are no violation.
            grace_ms: 500,
        }
    }

    /// Has the stand-in fail one endpoint of a tenant; gives the fault's id.
    fn fault(&self, tenant: usize, endpoint: Endpoint, effect: Effect) -> u64 {
        let (key, path) = (self.stage.key(tenant), endpoint.path().to_owned());
        self.stage.fakeintake.add_fault(Rule { key: Some(key), path: Some(path), skip: 0, times: None, effect })
    }

    fn lift_limits(&mut self) {
        for id in self.limits.drain(..) {
            self.stage.fakeintake.remove_fault(Some(id));
        }
    }

    /// Requests of the limited tenant that were answered 429.
    fn refusals(&self) -> u64 {
        let key = self.stage.key(LIMITED);
        let received = self.stage.fakeintake.received(&Filter { key: Some(key.clone()), kind: None });
        received.keys.get(&key).and_then(|counts| counts.total.refused.get(&429)).copied().unwrap_or_default()
    }

    /// Looks at the daemon and tells of what has changed.
    async fn observe(&mut self) -> Result<(), ConnectError> {
        let balances = self.stage.balances();
        for (tenant, state) in self.states.iter_mut().enumerate() {
            *state = self.stage.state(tenant);
        }
        if self.states[LIMITED] == TenantState::Throttled && self.see(Event::Throttled) {
            self.say("acme", "→ throttled: waits as long as Datadog says; the others flow");
        }
        if balances[POISONED].dead_lettered > 0 && self.see(Event::Buried) {
            self.say("initech", "→ found by halving its batch, set aside; the rest arrived");
            self.last[POISONED] = "1 dead letter";
        }
        if self.states[POISONED] == TenantState::Unauthorized && self.see(Event::Held) {
            self.say("initech", "→ unauthorized: telemetry is still taken, and held");
            self.last[POISONED] = "authorisation revoked → held";
        }
        if self.at_click.is_some_and(|(delivered, held)| balances[POISONED].delivered >= delivered + held)
            && self.see(Event::Released)
        {
            self.say("initech", "→ held telemetry is delivered");
            self.last[POISONED] = "";
        }
        self.observe_secrets().await?;
        let row =
            |tenant: usize| Row { state: self.states[tenant], balance: balances[tenant], last: self.last[tenant] };
        let at = self.begun.elapsed();
        if self.screen.is_terminal() || at >= self.next_tell {
            let rows: Vec<_> = (0..TENANTS.len()).map(row).collect();
            self.next_tell = at + TELL;
            self.screen.show(at, self.whole, &rows);
        }
        Ok(())
    }

    /// The same for what only the admin API tells.
    async fn observe_secrets(&mut self) -> Result<(), ConnectError> {
        let application = &self.stage.application;
        if !self.seen.contains(&Event::Refreshed) {
            let shown = application.show(TENANTS[LIMITED]).await?;
            if shown.tokens != self.first[LIMITED].tokens && self.see(Event::Refreshed) {
                self.say("acme", &format!("→ tokens rotated before they expire ({SHORT_LIFE} s)"));
            }
        }
        if !self.seen.contains(&Event::NewKey) {
            let shown = application.show(TENANTS[REVOKED]).await?;
            if shown.key != self.first[REVOKED].key
                && self.states[REVOKED] == TenantState::Active
                && self.see(Event::NewKey)
            {
                self.say("globex", "→ new key, by a refreshed token: nobody had to act");
                self.last[REVOKED] = "new key";
            }
        }
        Ok(())
    }

    /// Remembers an event; says whether it is news.
    fn see(&mut self, event: Event) -> bool {
        let news = !self.seen.contains(&event);
        if news {
            self.seen.push(event);
        }
        news
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
