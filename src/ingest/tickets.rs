//! Following a request to its end: whoever asks for it gets a ticket with the answer, and is told by the ticket what has become
//! of the items.

use crate::tenancy::Tenant;
use crate::types::Follow;
use serde_json::{Map, Value, json};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Requests that are remembered. Followed items are sent alone, so this also bounds what following costs: while none of
/// so many is settled, further requests are taken without a ticket.
const MOST: usize = 256;

/// How long a question waits for items that are still queued. Short, since it holds up a shutdown as any request does.
const PATIENCE: Duration = Duration::from_secs(1);

/// The requests that are followed, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Tickets(Mutex<VecDeque<Arc<Followed>>>);

/// A request that is followed.
#[derive(Debug)]
pub(super) struct Followed {
    /// Names it. Random, since who holds it sees what Datadog said of the items.
    pub(super) ticket: String,
    /// Goes along with the items.
    pub(super) follow: Follow,
    items: u64,
    tenants: Vec<Arc<Tenant>>,
}

impl Tickets {
    /// A ticket for a request of that many items, if there is room for one more.
    #[expect(clippy::disallowed_methods, reason = "nobody is to guess a ticket, with a seed or without")]
    pub(super) fn issue(&self, items: u64, tenants: &[Arc<Tenant>]) -> Option<Arc<Followed>> {
        let mut all = self.lock();
        if all.len() >= MOST {
            let settled = all.iter().position(|followed| followed.follow.fate().is_settled())?;
            all.remove(settled);
        }
        let followed = Arc::new(Followed {
            ticket: format!("{:032x}", rand::random::<u128>()),
            follow: Follow::new(items),
            items,
            tenants: tenants.to_vec(),
        });
        all.push_back(followed.clone());
        Some(followed)
    }

    /// The request was refused after all.
    pub(super) fn withdraw(&self, followed: &Followed) {
        self.lock().retain(|known| known.ticket != followed.ticket);
    }

    /// The request of that ticket.
    pub(super) fn find(&self, ticket: &str) -> Option<Arc<Followed>> {
        self.lock().iter().find(|followed| followed.ticket == ticket).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Followed>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Followed {
    /// What has become of the items, as soon as they are settled and at the latest after [`PATIENCE`].
    pub(super) async fn report(&self) -> Value {
        let settled = tokio::time::timeout(PATIENCE, self.follow.settled()).await;
        let fate = settled.unwrap_or_else(|_| self.follow.fate());
        let states: Map<String, Value> =
            self.tenants.iter().map(|tenant| (tenant.id.to_string(), tenant.state().name().into())).collect();
        json!({
            "settled": fate.is_settled(),
            "items": self.items,
            "queued": fate.queued,
            "delivered": fate.delivered,
            "dead_lettered": fate.dead_lettered,
            "dropped": fate.dropped,
            "attempts": fate.attempts,
            "words": fate.words,
            "tenants": states,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_given_again_when_one_is_settled() {
        let tickets = Tickets::default();
        let all: Vec<_> = std::iter::from_fn(|| tickets.issue(1, &[])).collect();
        assert_eq!(all.len(), MOST);
        all[7].follow.delivered(1);
        assert!(tickets.issue(1, &[]).is_some());
        assert!(tickets.find(&all[7].ticket).is_none());
        assert!(tickets.find(&all[8].ticket).is_some());
        assert!(tickets.issue(1, &[]).is_none());
        tickets.withdraw(&all[8]);
        assert!(tickets.issue(1, &[]).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_report_waits_for_the_end_but_not_for_long() {
        let tickets = Tickets::default();
        let followed = tickets.issue(2, &[]).unwrap();
        let report = followed.report().await;
        assert_eq!((&report["settled"], &report["queued"]), (&false.into(), &2.into()));
        followed.follow.attempted("202");
        followed.follow.delivered(2);
        assert_eq!(followed.report().await["delivered"], 2);
    }
}
