//! Configuration keys, each declared once.
//!
//! [`section!`] turns the declaration of a key into the field of a struct, its default, and a [`Key`]. Reading, printing,
//! reloading, the annotated file, the JSON Schema, the admin API and the options of `dogsled tenant set` all walk these
//! keys, so that a new key needs its declaration and its use, and nothing else.

use super::Settings;
use config::ValueKind;
use serde_json::{Map, Value};

/// One key of `Root`, which is the whole configuration or a table that stands for itself.
pub(crate) struct Key<Root: 'static> {
    /// The section, such as `ingest`; empty where the table stands for itself.
    pub section: &'static str,
    /// The name within its section, such as `max_body`.
    pub name: &'static str,
    /// What the key does, in lines.
    pub help: &'static [&'static str],
    /// Whether a change waits for a restart.
    pub restart: bool,
    /// Whether the value is a secret.
    pub secret: bool,
    /// The name of the key that names a file with the value, where there is one: such as `api_key_file`.
    pub file: Option<&'static str>,
    /// Takes a value that was written for it. The error says what is wrong, without naming the key.
    pub read: fn(&mut Root, &ValueKind) -> Result<(), String>,
    /// The value as it is written in a file; null where there is none. Secrets are `[redacted]`.
    pub print: fn(&Root) -> Value,
    /// The value as the admin API writes it.
    pub to_api: fn(&Root) -> Value,
    /// Whether both have the same value; secrets are compared, too.
    pub same: fn(&Root, &Root) -> bool,
    /// Gives the second the value of the first.
    pub copy: fn(&Root, &mut Root),
    /// The JSON Schema of the value as it is written in a file.
    pub schema: fn() -> Value,
    /// The JSON Schema of the value as the admin API writes it.
    pub api_schema: fn() -> Value,
}

impl<Root> Key<Root> {
    /// What the key does, in one line.
    pub fn help(&self) -> String {
        one_line(self.help)
    }
}

/// The lines of a documentation comment in one.
pub(super) fn one_line(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

/// A section of the configuration file.
pub(super) struct Section {
    /// Its name.
    pub name: &'static str,
    /// What it is about, in lines.
    pub about: &'static [&'static str],
    /// Its keys.
    pub keys: &'static [Key<Settings>],
}

/// Declares a table of the configuration: a struct, its defaults, and its keys.
///
/// ```text
/// section! {
///     /// What the section is about.
///     pub struct Ingest in Settings.ingest {
///         /// What the key does.
///         max_body: usize = 16 << 20, Size(1_024..=1 << 30), restart;
///     }
/// }
/// ```
///
/// A key has its help, which is also the documentation of the field and the comment in the annotated file; its name and
/// type; its default; its [`Form`](super::form::Form), with unit and range; and `restart` if a running daemon does not
/// follow a change. Without `in`, the table stands for itself, as `[tenants.<id>]` does.
macro_rules! section {
    ($(#[doc = $about:literal])+ pub struct $Section:ident in $Root:ident.$field:ident { $($keys:tt)* }) => {
        section!(@build [$($about)+] $Section, $crate::settings::$Root, [.$field], stringify!($field), { $($keys)* });

        impl $Section {
            pub(super) const SECTION: $crate::settings::key::Section = $crate::settings::key::Section {
                name: stringify!($field),
                about: Self::ABOUT,
                keys: Self::KEYS,
            };
        }
    };
    ($(#[doc = $about:literal])+ pub struct $Section:ident { $($keys:tt)* }) => {
        section!(@build [$($about)+] $Section, $Section, [], "", { $($keys)* });
    };
    (@build [$($about:literal)+] $Section:ident, $Root:path, $within:tt, $name:expr, {
        $($(#[doc = $help:literal])+ $key:ident: $Type:ty = $default:expr, $form:expr $(, $restart:ident)?;)*
        $(also { $($(#[doc = $more_help:literal])+ $more:ident: $More:ty,)+ })?
    }) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq)]
        pub struct $Section {
            $($(#[doc = $help])+ pub $key: $Type,)*
            $($($(#[doc = $more_help])+ pub $more: $More,)+)?
        }

        impl Default for $Section {
            fn default() -> Self {
                Self { $($key: $default,)* $($($more: Default::default(),)+)? }
            }
        }

        impl $Section {
            pub(crate) const ABOUT: &'static [&'static str] = &[$($about),+];
            pub(crate) const KEYS: &'static [$crate::settings::key::Key<$Root>] =
                &[$(section!(@key $Root, $within, $name, [$($help)+] $key, $form, [$($restart)?])),*];
        }
    };
    (@key $Root:path, [$($within:tt)*], $name:expr, [$($help:literal)+] $key:ident, $form:expr, [$($restart:ident)?]) => {
        $crate::settings::key::Key {
            section: $name,
            name: stringify!($key),
            help: &[$($help),+],
            restart: section!(@restart $($restart)?),
            secret: $crate::settings::form::is_secret(&$form),
            file: $crate::settings::form::file_of(&$form, concat!(stringify!($key), "_file")),
            read: |root: &mut $Root, value| {
                root $($within)* .$key = $crate::settings::form::Form::read(&$form, value)?;
                Ok(())
            },
            print: |root: &$Root| $crate::settings::form::Form::print(&$form, &root $($within)* .$key),
            to_api: |root: &$Root| $crate::settings::form::Form::to_api(&$form, &root $($within)* .$key),
            same: |one: &$Root, other: &$Root| one $($within)* .$key == other $($within)* .$key,
            copy: |from: &$Root, to: &mut $Root| to $($within)* .$key = from $($within)* .$key.clone(),
            schema: || $crate::settings::form::Form::schema(&$form),
            api_schema: || $crate::settings::form::Form::api_schema(&$form),
        }
    };
    (@restart) => { false };
    (@restart restart) => { true };
}
pub(super) use section;

/// A table as the admin API writes it.
pub(super) fn to_api<R>(table: &R, keys: &[Key<R>]) -> Map<String, Value> {
    keys.iter().map(|key| (key.name.to_owned(), (key.to_api)(table))).collect()
}
