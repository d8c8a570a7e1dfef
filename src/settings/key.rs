//! Configuration keys, each declared once.
//!
//! [`section!`] turns the declaration of a key into the field of a struct, its default, and a [`Key`] of its [`Table`]. Reading,
//! printing, reloading, the annotated file, the JSON Schema, the admin API and the options of `dogsled tenant set` all walk
//! these keys, so that a new key needs its declaration and its use, and nothing else.

use config::ValueKind;
use serde_json::Value;

/// A table of the configuration, with the keys that its fields are.
pub(crate) trait Table: Default + 'static {
    /// What the table is about, in lines.
    const ABOUT: &'static [&'static str];
    /// Its keys, in the order of the configuration file.
    const KEYS: &'static [Key<Self>];
}

/// A key of a table.
pub(crate) struct Key<T: 'static> {
    /// The name within its table, such as `max_body`.
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
    pub read: fn(&mut T, &ValueKind) -> Result<(), String>,
    /// The value as it is written in a file; null where there is none. Secrets are `[redacted]`.
    pub print: fn(&T) -> Value,
    /// The value as the admin API writes it.
    pub to_api: fn(&T) -> Value,
    /// Whether both have the same value; secrets are compared, too.
    pub same: fn(&T, &T) -> bool,
    /// Gives the second the value of the first.
    pub copy: fn(&T, &mut T),
    /// The JSON Schema of the value as it is written in a file.
    pub schema: fn() -> Value,
    /// The JSON Schema of the value as the admin API writes it.
    pub api_schema: fn() -> Value,
}

/// What a file says of a key, whatever table it is of.
pub(super) struct Description {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub help: String,
    /// Whether a change waits for a restart.
    pub restart: bool,
    /// The name of the key that names a file with the value.
    pub file: Option<&'static str>,
    /// Its default; null for none.
    pub default: Value,
    /// The JSON Schema of its value.
    pub schema: Value,
}

/// Describes the keys of a table.
pub(super) fn describe<T: Table>() -> Vec<Description> {
    let defaults = T::default();
    let describe = |key: &Key<T>| Description {
        name: key.name,
        help: one_line(key.help),
        restart: key.restart,
        file: key.file,
        default: (key.print)(&defaults),
        schema: (key.schema)(),
    };
    T::KEYS.iter().map(describe).collect()
}

/// The lines of a documentation comment in one.
pub(crate) fn one_line(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

/// The keys of a table that have a value, as a file says them.
pub(super) fn printed<T: Table>(table: &T) -> Vec<(String, Value)> {
    let values = T::KEYS.iter().map(|key| (key.name.to_owned(), (key.print)(table)));
    values.filter(|(_, value)| !value.is_null()).collect()
}

/// Declares a table of the configuration: a struct, its defaults, and its keys.
///
/// ```text
/// section! {
///     /// What the section is about.
///     pub struct Ingest {
///         /// What the key does.
///         max_body: usize = 16 << 20, Size(1_024..=1 << 30), restart;
///     }
/// }
/// ```
///
/// A key has its help, which is also the documentation of the field and the comment in the annotated file; its name and
/// type; its default; its [`Form`](super::form::Form), with unit and range; and `restart` if a running daemon does not
/// follow a change. Fields after `also` are no keys.
macro_rules! section {
    ($(#[doc = $about:literal])+ pub struct $Section:ident {
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

        impl $crate::settings::key::Table for $Section {
            const ABOUT: &'static [&'static str] = &[$($about),+];
            const KEYS: &'static [$crate::settings::key::Key<Self>] = &[$($crate::settings::key::Key {
                name: stringify!($key),
                help: &[$($help),+],
                restart: section!(@restart $($restart)?),
                secret: $crate::settings::form::is_secret(&$form),
                file: $crate::settings::form::file_of(&$form, concat!(stringify!($key), "_file")),
                read: |table: &mut Self, value| {
                    table.$key = $crate::settings::form::Form::read(&$form, value)?;
                    Ok(())
                },
                print: |table: &Self| $crate::settings::form::Form::print(&$form, &table.$key),
                to_api: |table: &Self| $crate::settings::form::Form::to_api(&$form, &table.$key),
                same: |one: &Self, other: &Self| one.$key == other.$key,
                copy: |from: &Self, to: &mut Self| to.$key = from.$key.clone(),
                schema: || $crate::settings::form::Form::schema(&$form),
                api_schema: || $crate::settings::form::Form::api_schema(&$form),
            }),*];
        }
    };
    (@restart) => { false };
    (@restart restart) => { true };
}
pub(super) use section;
