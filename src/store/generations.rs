//! For whom a tenant's telemetry was accepted, one generation after the other. Pure.

use crate::types::{Generation, UnixMillis};
use serde::{Deserialize, Serialize};

/// The generations of one creation of a tenant, the present one last. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generations(Vec<Recipient>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Recipient {
    generation: u64,
    /// The id of the organisation; none as long as it is not known.
    organisation: Option<String>,
    /// It also gets what was accepted for others before this time: the operator's decision, in milliseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    released: Option<i64>,
}

/// As many generations are remembered. Items of those before stay held until the operator decides.
const MOST: usize = 64;

impl Generations {
    /// Those of a new tenant, or of one from before there were generations.
    pub fn new(generation: Generation) -> Self {
        Self(vec![Recipient { generation: generation.0, organisation: None, released: None }])
    }

    /// The generation that telemetry is accepted for now.
    pub fn present(&self) -> Generation {
        self.0.last().map_or(Generation::UNKNOWN, |recipient| Generation(recipient.generation))
    }

    /// The organisation that telemetry is accepted for now, as far as it is known.
    pub fn organisation(&self) -> Option<&str> {
        self.0.last()?.organisation.as_deref()
    }

    /// The other generations whose telemetry was accepted for that organisation.
    pub fn others(&self) -> impl Iterator<Item = Generation> {
        let (present, earlier) = self.0.split_last().map_or((None, &[][..]), |(last, earlier)| (Some(last), earlier));
        let organisation = present.and_then(|present| present.organisation.as_ref());
        let same =
            earlier.iter().filter(move |other| organisation.is_some() && other.organisation.as_ref() == organisation);
        same.map(|other| Generation(other.generation))
    }

    /// Follows a key to its organisation, none where Datadog has not said it yet. Telemetry that was accepted before anything
    /// was known is for the first organisation that is; any other organisation, and a key of which nothing is known in place of
    /// one of which it was, begins a generation of its own, which is `fresh` unless it had one before.
    pub(super) fn follow_key(&mut self, organisation: Option<&str>, fresh: Generation) {
        let Some(present) = self.0.last_mut() else { return };
        match (&present.organisation, organisation) {
            (None, None) => {}
            (None, Some(id)) => present.organisation = Some(id.to_owned()),
            (Some(now), Some(id)) if now == id => {}
            (Some(_), organisation) => {
                let is_known =
                    |former: &Recipient| organisation.is_some() && former.organisation.as_deref() == organisation;
                match self.0.iter().rposition(is_known) {
                    Some(at) => self.0[at..].rotate_left(1),
                    None => self.push(organisation.map(str::to_owned), fresh),
                }
            }
        }
    }

    /// The time before which telemetry is released to the present organisation, whoever it was accepted for.
    pub fn released(&self) -> Option<UnixMillis> {
        self.0.last()?.released.map(UnixMillis)
    }

    pub(super) fn release(&mut self, before: UnixMillis) {
        if let Some(present) = self.0.last_mut() {
            present.released = Some(before.0);
        }
    }

    fn push(&mut self, organisation: Option<String>, fresh: Generation) {
        self.0.push(Recipient { generation: fresh.0, organisation, released: None });
        if self.0.len() > MOST {
            self.0.remove(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The present generation, and the others of its organisation, after keys of these organisations, one after the other;
    /// nothing is known of the key `-`.
    fn after(keys: &[&str]) -> (u64, Vec<u64>) {
        let mut generations = Generations::new(Generation(1));
        for (key, fresh) in keys.iter().zip(2..) {
            generations.follow_key((*key != "-").then_some(key), Generation(fresh));
        }
        (generations.present().0, generations.others().map(|other| other.0).collect())
    }

    #[test]
    fn each_organisation_keeps_its_own_generations() {
        for (keys, present, others) in [
            (&[][..], 1, &[][..]),
            (&["a"], 1, &[]),
            (&["a", "a"], 1, &[]),
            (&["a", "b"], 3, &[]),
            (&["a", "b", "a"], 1, &[]),
            (&["a", "b", "a", "b"], 3, &[]),
            (&["-", "-"], 1, &[]),
            (&["-", "a"], 1, &[]),
            (&["a", "-", "-"], 3, &[]),
            (&["a", "-", "a"], 3, &[1]),
            (&["a", "-", "b"], 3, &[]),
            (&["a", "-", "b", "a"], 1, &[]),
            (&["a", "-", "a", "b", "a"], 3, &[1]),
        ] {
            assert_eq!(after(keys), (present, others.to_vec()), "{keys:?}");
        }
    }

    #[test]
    fn a_release_is_to_the_present_organisation_alone() {
        let mut generations = Generations::new(Generation(1));
        generations.follow_key(Some("a"), Generation(2));
        generations.release(UnixMillis(7));
        assert_eq!(generations.released(), Some(UnixMillis(7)));
        generations.follow_key(Some("b"), Generation(3));
        assert_eq!(generations.released(), None);
    }

    #[test]
    fn only_so_many_generations_are_remembered() {
        let mut generations = Generations::new(Generation(0));
        for number in 1..200 {
            generations.follow_key(Some(&number.to_string()), Generation(number));
        }
        assert_eq!((generations.0.len(), generations.present()), (MOST, Generation(199)));
    }
}
