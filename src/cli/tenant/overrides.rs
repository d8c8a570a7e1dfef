//! The options of a tenant's own limits and quota, one for each key that it may have.

use crate::settings::{OwnLimits, OwnQuota, OwnTable, one_line};
use clap::{Arg, ArgMatches, Command, Error, FromArgMatches};
use serde_json::{Map, Value};

/// The overrides that were given, as the admin API takes them.
#[derive(Debug)]
pub(super) struct Args(Map<String, Value>);

impl Args {
    pub(super) fn add_to(&self, body: &mut Value) {
        for (table, keys) in &self.0 {
            body[table] = keys.clone();
        }
    }
}

impl clap::Args for Args {
    fn augment_args(command: Command) -> Command {
        add_options::<OwnQuota>(add_options::<OwnLimits>(command))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Args {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let tables = [(OwnLimits::NAME, given::<OwnLimits>(matches)), (OwnQuota::NAME, given::<OwnQuota>(matches))];
        let tables = tables.into_iter().filter(|(_, keys)| !keys.is_empty());
        Ok(Self(tables.map(|(name, keys)| (name.to_owned(), keys.into())).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn add_options<T: OwnTable>(command: Command) -> Command {
    T::KEYS.iter().fold(command, |command, key| {
        let read = move |text: &str| match text {
            "default" => Ok(Value::Null),
            text => T::parsed(key, text).map_err(|why| format!("{why}; or write default")),
        };
        let help = format!("{} `default`: as for all tenants", one_line(key.help));
        // The command line is described once in a process, and clap wants names that live as long.
        let name: &'static str = key.name.replace('_', "-").leak();
        command.arg(Arg::new(key.name).long(name).value_name("VALUE").help(help).value_parser(read))
    })
}

fn given<T: OwnTable>(matches: &ArgMatches) -> Map<String, Value> {
    let value = |name: &str| matches.get_one::<Value>(name).cloned();
    T::KEYS.iter().filter_map(|key| Some((key.name.to_owned(), value(key.name)?))).collect()
}
