//! `dogsled dead-letter purge`.

use super::{Failure, Place, Unreadable, Which, counted, head, say, warn_unreadable};
use crate::cli::text;
use crate::deliver::{Content, Letter, Line, Rewrite};
use crate::types::UnixMillis;
use serde_json::json;

/// Removes letters; whether it was done, and not called off.
pub(super) fn run(place: &Place, which: &Which, cutoff: Option<UnixMillis>, yes: bool) -> Result<bool, Failure> {
    let goes = |letter: &Letter<'_>| {
        which.wants(letter.kind) && cutoff.is_none_or(|cutoff| UnixMillis(letter.refused_at) < cutoff)
    };
    let (mut letters, mut items) = (0, 0);
    let mut unreadable = Vec::new();
    let rewrite = Rewrite::begin(&place.letters, &which.tenant)?;
    if let Some(rewrite) = &rewrite {
        let mut lines = rewrite.lines();
        while let Some(line) = lines.read().map_err(Failure::Read)? {
            match line.content {
                Content::Letter(letter) if goes(&letter) => {
                    letters += 1;
                    items += u64::from(letter.items);
                }
                Content::Letter(_) | Content::Replayed => {}
                Content::Unreadable(why) => unreadable.push(Unreadable { line: line.number, why }),
            }
        }
    }
    let what = format!("{} with {}", counted(letters, "letter"), counted(items, "item"));
    if !place.json {
        warn_unreadable(place, &which.tenant, &unreadable);
    }
    let called_off = letters > 0 && !yes && !confirmed(&what, which, letters)?;
    if called_off {
        (letters, items) = (0, 0);
    } else if let Some(rewrite) = rewrite {
        rewrite.finish(|line: &Line<'_>| !matches!(&line.content, Content::Letter(letter) if goes(letter)))?;
    }
    if place.json {
        let mut report = head(place, &which.tenant);
        report["purged_letters"] = letters.into();
        report["purged_items"] = items.into();
        report["unreadable"] = json!(unreadable);
        say(report)?;
    } else if called_off {
        say("nothing was removed")?;
    } else {
        say(format_args!("removed {what} of {}", which.words()))?;
    }
    Ok(!called_off)
}

/// Asks at the terminal.
fn confirmed(what: &str, which: &Which, letters: u64) -> Result<bool, Failure> {
    let answer = text::confirmed(&format!("Remove {what} of {} for good?", which.words())).map_err(Failure::Read)?;
    answer.ok_or_else(|| Failure::Unasked { letters, which: which.words() })
}
