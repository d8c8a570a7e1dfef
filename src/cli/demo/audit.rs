//! The end of the demonstration: whether the ledger agrees with what was sent and with what arrived.
//!
//! Judging is apart from gathering, and pure: a demonstration that could not fail would show nothing, so the tests judge
//! made-up losses and crossings.

use super::script::Event;
use super::stage::{Stage, TENANTS};
use super::traffic::Sent;
use crate::ledger::Balance;
use std::collections::{HashMap, HashSet};

/// What is known of one tenant when everything is over. Items are named by their identifiers.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    /// Its figures, as the daemon counted them.
    pub(super) balance: Balance,
    /// Items that the daemon answered 202.
    pub(super) taken: Vec<String>,
    /// Items that came with its key.
    pub(super) received: Vec<String>,
    /// Items among its dead letters.
    pub(super) buried: Vec<String>,
}

/// One thing that must hold.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Check {
    /// Whether it does.
    pub(super) holds: bool,
    /// What it is, or how it is broken.
    pub(super) words: String,
}

/// Gathers what is known of every tenant.
pub(super) fn gather(stage: &Stage, sent: &Sent) -> Vec<Evidence> {
    let balances = stage.balances().into_iter().zip(&sent.accepted).enumerate();
    let evidence = balances.map(|(tenant, (balance, taken))| Evidence {
        balance,
        taken: taken.clone(),
        received: stage.received(tenant),
        buried: stage.buried(tenant),
    });
    evidence.collect()
}

/// Judges the evidence, in the order of [`TENANTS`].
pub(super) fn judge(evidence: &[Evidence], too_early: u64) -> Vec<Check> {
    let mut total = Findings::default();
    for (tenant, evidence) in TENANTS.into_iter().zip(evidence) {
        total.add(tenant, evidence);
    }
    let Findings { taken, lost, buried, crossed, twice, unbalanced, miscounted } = total;
    let check = |holds, fine: String, broken: String| Check { holds, words: if holds { fine } else { broken } };
    vec![
        check(
            unbalanced == 0,
            "the ledger balances for every tenant".into(),
            format!("tenants whose ledger does not balance: {unbalanced}"),
        ),
        check(
            miscounted == 0,
            "the ledger agrees with what was sent and what arrived".into(),
            format!("tenants whose ledger disagrees with what was sent or what arrived: {miscounted}"),
        ),
        check(
            taken > 0 && lost == 0,
            format!("nothing lost: {taken} items taken, {} arrived, dead letters: {buried}", taken - lost - buried),
            if taken == 0 { "not one item was taken".into() } else { format!("items lost: {lost} of {taken}") },
        ),
        check(
            crossed == 0,
            "nothing crossed: every item came with its own tenant's key".into(),
            format!("items that came with a key not their tenant's: {crossed}"),
        ),
        check(twice == 0, "nothing arrived twice".into(), format!("items that arrived more than once: {twice}")),
        check(
            too_early == 0,
            "no request came sooner than a 429 had allowed".into(),
            format!("requests that came sooner than a 429 had allowed: {too_early}"),
        ),
    ]
}

/// Judges whether the daemon was seen to do something about every trouble.
pub(super) fn answered(seen: &[Event]) -> Check {
    let missed: Vec<_> = Event::ALL.into_iter().filter(|event| !seen.contains(event)).map(Event::missed).collect();
    let words = "every trouble was met: keys, tokens, limits, poison".to_owned();
    Check { holds: missed.is_empty(), words: if missed.is_empty() { words } else { missed.join("; ") } }
}

#[derive(Debug, Default)]
struct Findings {
    taken: usize,
    /// Taken, and neither at Datadog nor a dead letter.
    lost: usize,
    /// Dead letters that are not at Datadog.
    buried: usize,
    /// Items that came with a key of another tenant.
    crossed: usize,
    twice: usize,
    /// Tenants whose figures do not add up.
    unbalanced: usize,
    /// Tenants whose figures are not those of the items.
    miscounted: usize,
}

impl Findings {
    fn add(&mut self, tenant: &str, evidence: &Evidence) {
        let Evidence { balance, taken, received, buried } = evidence;
        let mut arrivals: HashMap<&str, usize> = HashMap::new();
        for id in received {
            *arrivals.entry(id).or_default() += 1;
        }
        let letters: HashSet<&str> = buried.iter().map(String::as_str).collect();
        let (mut lost, mut dead) = (0, 0);
        for id in taken {
            match (arrivals.contains_key(id.as_str()), letters.contains(id.as_str())) {
                (true, _) => {}
                (false, true) => dead += 1,
                (false, false) => lost += 1,
            }
        }
        let own = |id: &str| id.strip_prefix(tenant).is_some_and(|rest| rest.starts_with('.'));
        let figures = (balance.accepted, balance.delivered, balance.queued, balance.dead_lettered);
        let counted = (taken.len() as u64, arrivals.len() as u64, 0, dead as u64);
        self.taken += taken.len();
        self.lost += lost;
        self.buried += dead;
        self.crossed += arrivals.keys().filter(|id| !own(id)).count();
        self.twice += arrivals.values().filter(|count| **count > 1).count();
        self.unbalanced += usize::from(!balance.balances());
        self.miscounted += usize::from(figures != counted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three tenants with ten items each; of the last one's, one is a dead letter.
    fn good() -> Vec<Evidence> {
        let mut all: Vec<_> = TENANTS
            .iter()
            .map(|tenant| {
                let ids: Vec<_> = (0..10).map(|serial| format!("{tenant}.logs.{serial}")).collect();
                let balance = Balance { accepted: 10, delivered: 10, ..Balance::default() };
                Evidence { balance, taken: ids.clone(), received: ids, buried: Vec::new() }
            })
            .collect();
        let poisoned = &mut all[2];
        poisoned.buried.extend(poisoned.received.pop());
        (poisoned.balance.delivered, poisoned.balance.dead_lettered) = (9, 1);
        all
    }

    /// The words of what does not hold.
    fn broken(evidence: &[Evidence], too_early: u64) -> Vec<String> {
        judge(evidence, too_early).into_iter().filter(|check| !check.holds).map(|check| check.words).collect()
    }

    #[test]
    fn what_arrived_where_it_belongs_is_fine() {
        assert_eq!(broken(&good(), 0), [""; 0]);
        let words: Vec<_> = judge(&good(), 0).into_iter().map(|check| check.words).collect();
        assert!(words.contains(&"nothing lost: 30 items taken, 29 arrived, dead letters: 1".to_owned()), "{words:?}");
    }

    #[test]
    fn a_lost_item_called_delivered_is_noticed() {
        let mut evidence = good();
        evidence[0].received.pop();
        let words = broken(&evidence, 0);
        assert!(words.contains(&"items lost: 1 of 30".to_owned()), "{words:?}");
        assert!(words[0].contains("disagrees"), "{words:?}");
    }

    #[test]
    fn an_item_with_another_tenants_key_is_noticed() {
        let mut evidence = good();
        let stray = evidence[0].received.pop().unwrap();
        evidence[1].received.push(stray);
        let words = broken(&evidence, 0);
        assert!(words.contains(&"items that came with a key not their tenant's: 1".to_owned()), "{words:?}");
        assert!(words.contains(&"items lost: 1 of 30".to_owned()), "{words:?}");
    }

    #[test]
    fn an_item_that_names_nobody_belongs_to_nobody() {
        let mut evidence = good();
        evidence[1].received.push(String::new());
        evidence[1].received.push("globexx.logs.1".into());
        let words = broken(&evidence, 0);
        assert!(words.contains(&"items that came with a key not their tenant's: 2".to_owned()), "{words:?}");
    }

    #[test]
    fn an_item_that_arrives_twice_is_noticed() {
        let mut evidence = good();
        let again = evidence[0].received[3].clone();
        evidence[0].received.push(again);
        assert_eq!(broken(&evidence, 0), ["items that arrived more than once: 1"]);
    }

    #[test]
    fn what_is_still_queued_is_not_delivered() {
        let mut evidence = good();
        evidence[1].received.pop();
        (evidence[1].balance.delivered, evidence[1].balance.queued) = (9, 1);
        assert!(broken(&evidence, 0).contains(&"items lost: 1 of 30".to_owned()));
    }

    #[test]
    fn figures_that_do_not_add_up_are_noticed() {
        let mut evidence = good();
        evidence[0].balance.accepted = 11;
        let words = broken(&evidence, 0);
        assert_eq!(words[0], "tenants whose ledger does not balance: 1");
    }

    #[test]
    fn an_unanswered_trouble_is_noticed() {
        assert!(answered(&Event::ALL).holds);
        let Check { holds, words } = answered(&Event::ALL[1..]);
        assert_eq!((holds, words.as_str()), (false, "acme was never throttled"));
    }

    #[test]
    fn silence_and_impatience_are_no_success() {
        let nothing: Vec<_> = TENANTS.iter().map(|_| Evidence::default()).collect();
        assert_eq!(broken(&nothing, 0), ["not one item was taken"]);
        assert_eq!(broken(&good(), 2), ["requests that came sooner than a 429 had allowed: 2"]);
    }
}
