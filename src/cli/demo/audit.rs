//! The end of the demonstration: the ledger, and whether it agrees with what was sent and with what arrived.

use super::screen::Screen;
use super::stage::{Stage, TENANTS};
use super::traffic::{Sent, id_of};
use crate::intake::Filter;
use crate::ledger::Balance;
use std::collections::{HashMap, HashSet};

/// Prints the ledger and the checks; whether all of them hold.
pub(super) fn audit(screen: &mut Screen, stage: &Stage, sent: &Sent) -> bool {
    ledger(screen, stage);
    let checks = checks(stage, sent);
    for (fine, text) in &checks {
        screen.note(&format!("{}  {text}", screen.verdict(*fine)));
    }
    checks.iter().all(|(fine, _)| *fine)
}

fn ledger(screen: &mut Screen, stage: &Stage) {
    screen.note("\ntenant    kind                   accepted = delivered + queued + dead-lettered + dropped");
    let mut total = Balance::default();
    for (tenant, kind, balance) in stage.accounts() {
        total.add(&balance);
        screen.note(&line(TENANTS[tenant], kind.name(), &balance));
    }
    screen.note(&format!("{}\n", line("all", "", &total)));
}

fn line(tenant: &str, kind: &str, balance: &Balance) -> String {
    let Balance { accepted, delivered, queued, dead_lettered, .. } = balance;
    let dropped: u64 = balance.dropped.iter().sum();
    format!("{tenant:<9} {kind:<20} {accepted:>10} {delivered:>11} {queued:>8} {dead_lettered:>15} {dropped:>9}")
}

fn checks(stage: &Stage, sent: &Sent) -> Vec<(bool, String)> {
    let arrived = Arrived::read(stage, sent);
    let accounts = stage.accounts();
    let balances = stage.balances();
    let queued: u64 = balances.iter().map(|balance| balance.queued).sum();
    let dead: u64 = balances.iter().map(|balance| balance.dead_lettered).sum();
    let taken: u64 = sent.accepted.iter().map(|ids| ids.len() as u64).sum();
    let counted: u64 = balances.iter().map(|balance| balance.accepted).sum();
    let violations = violations(stage);
    let Arrived { missing, foreign, twice, unknown, buried } = arrived;
    let mut checks = vec![
        (accounts.iter().all(|(_, _, balance)| balance.balances()), "every account of the ledger balances".to_owned()),
        (
            taken == counted && taken > 0,
            format!("{taken} items were answered 202, and {counted} accepted by the ledger"),
        ),
        (queued == 0, format!("{queued} items are left in the queue")),
        (
            missing == 0 && unknown == 0 && buried == dead,
            format!("{missing} items are missing: all arrived but {dead} dead letter, which is in its file"),
        ),
        (foreign == 0, format!("{foreign} items arrived with another tenant's key")),
        (twice == 0, format!("{twice} items arrived twice")),
        (violations == 0, format!("{violations} requests came before a rate limit allowed them")),
    ];
    if let Some(words) = &sent.failure {
        checks.push((false, format!("a request was not taken: {words}")));
    }
    checks
}

/// What arrived, compared with what was sent.
#[derive(Default)]
struct Arrived {
    /// Accepted, and neither at Datadog nor a dead letter.
    missing: usize,
    /// With another tenant's key.
    foreign: usize,
    /// More often than once.
    twice: usize,
    /// Never sent.
    unknown: usize,
    /// In the tenant's file of dead letters, and not at Datadog.
    buried: u64,
}

impl Arrived {
    fn read(stage: &Stage, sent: &Sent) -> Self {
        let mut this = Self::default();
        for (tenant, ids) in sent.accepted.iter().enumerate() {
            let filter = Filter { key: Some(stage.key(tenant).to_owned()), kind: None };
            let items = stage.intake.items(&filter, 0, usize::MAX);
            let mut seen: HashMap<&str, usize> = HashMap::new();
            for item in &items {
                *seen.entry(id_of(&item.json).unwrap_or_default()).or_default() += 1;
            }
            let ids: HashSet<&str> = ids.iter().map(String::as_str).collect();
            let letters = stage.dead_letters(tenant);
            let letters: HashSet<&str> = letters.lines().filter_map(id_of).collect();
            for id in &ids {
                match (seen.contains_key(id), letters.contains(id)) {
                    (true, _) => {}
                    (false, true) => this.buried += 1,
                    (false, false) => this.missing += 1,
                }
            }
            for (id, count) in seen {
                let foreign = !id.strip_prefix(TENANTS[tenant]).is_some_and(|rest| rest.starts_with('.'));
                this.foreign += usize::from(foreign);
                this.unknown += usize::from(!foreign && !ids.contains(id));
                this.twice += count - 1;
            }
        }
        this
    }
}

/// Requests that came too early after a 429.
fn violations(stage: &Stage) -> u64 {
    let received = stage.intake.received(&Filter::default());
    received.keys.values().map(|counts| counts.total.rate_limit_violations).sum()
}
