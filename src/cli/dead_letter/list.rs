//! `dogsled dead-letter list`.

use super::{Failure, Place, Unreadable, head, say, time, warn_unreadable};
use crate::cli::text::{cut, one_line, table};
use crate::deliver::{Content, Letter};
use crate::types::{Kind, TenantId};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The most characters of a reason in a table.
const REASON: usize = 80;

/// The letters of one kind.
#[derive(Debug, Default)]
struct Tally {
    letters: u64,
    items: u64,
    oldest: i64,
    newest: i64,
    status: Option<u16>,
    reason: String,
}

impl Tally {
    fn count(&mut self, letter: &Letter<'_>) {
        if self.letters == 0 || letter.refused_at < self.oldest {
            self.oldest = letter.refused_at;
        }
        if self.letters == 0 || letter.refused_at >= self.newest {
            self.newest = letter.refused_at;
            self.status = letter.status;
            self.reason = letter.reason.clone().into_owned();
        }
        self.letters += 1;
        self.items += u64::from(letter.items);
    }

    fn json(&self, kind: Kind) -> Value {
        json!({
            "kind": kind.name(), "letters": self.letters, "items": self.items, "oldest_refused_at": self.oldest,
            "newest_refused_at": self.newest, "last_status": self.status, "last_reason": self.reason,
        })
    }
}

/// The letters of one tenant.
#[derive(Debug, Default)]
struct Account {
    bytes: u64,
    kinds: BTreeMap<Kind, Tally>,
    unreadable: Vec<Unreadable>,
}

pub(super) fn run(place: &Place) -> Result<(), Failure> {
    let mut accounts = Vec::new();
    for (tenant, _) in place.letters.tenants().map_err(Failure::Read)? {
        let account = account(place, &tenant)?;
        accounts.push((tenant, account));
    }
    if place.json {
        let all = accounts.iter().map(|(tenant, account)| {
            let mut row = head(place, tenant);
            row["bytes"] = account.bytes.into();
            row["kinds"] = account.kinds.iter().map(|(kind, tally)| tally.json(*kind)).collect();
            row["unreadable"] = json!(account.unreadable);
            row
        });
        return say(format_args!("{:#}", all.collect::<Value>()));
    }
    for (tenant, account) in &accounts {
        warn_unreadable(place, tenant, &account.unreadable);
    }
    let rows: Vec<_> = accounts
        .iter()
        .flat_map(|(tenant, account)| account.kinds.iter().map(|(kind, tally)| row(tenant, *kind, tally)))
        .collect();
    if rows.is_empty() {
        return say(format_args!("no dead letters in {}", place.letters.dir().display()));
    }
    let titles = ["tenant", "kind", "letters", "items", "oldest", "newest", "last reason"];
    say(table(&titles, &rows).join("\n"))
}

fn account(place: &Place, tenant: &TenantId) -> Result<Account, Failure> {
    let mut account = Account::default();
    let Some(mut lines) = place.letters.read(tenant).map_err(Failure::Read)? else { return Ok(account) };
    account.bytes = lines.bytes();
    while let Some(line) = lines.read().map_err(Failure::Read)? {
        match line.content {
            Content::Letter(letter) => account.kinds.entry(letter.kind).or_default().count(&letter),
            Content::Unreadable(why) => account.unreadable.push(Unreadable { line: line.number, why }),
            Content::Replayed => {}
        }
    }
    Ok(account)
}

fn row(tenant: &TenantId, kind: Kind, tally: &Tally) -> [String; 7] {
    let status = tally.status.map(|status| format!("{status} ")).unwrap_or_default();
    let reason = one_line(&cut(&tally.reason, REASON));
    [
        tenant.to_string(),
        kind.name().to_owned(),
        tally.letters.to_string(),
        tally.items.to_string(),
        time(tally.oldest),
        time(tally.newest),
        format!("{status}{reason}"),
    ]
}
