//! The address of the store: which database, and what of it may be shown.

use super::form::{Form, hidden};
use crate::types::Secret;
use config::ValueKind;
use serde_json::{Value, json};
use std::fmt;
use std::path::PathBuf;

/// Which database keeps the tenants.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum StoreUrl {
    /// SQLite, `tenants.db` in the state directory.
    #[default]
    Default,
    /// SQLite, in that file.
    Sqlite(PathBuf),
    /// PostgreSQL, as of libpq's connection URIs. Secret as a whole, for it may hold a password.
    Postgres(Secret),
}

impl StoreUrl {
    /// Reads the address; empty is the default.
    ///
    /// # Errors
    /// When it names no database that is known; the error shows nothing but the scheme.
    pub fn parse(text: &str) -> Result<Self, String> {
        const ADVICE: &str = "write \"\" for SQLite in the state directory, sqlite:/a/path.db, or postgres://user:password@host/database";
        let text = text.trim();
        if text.is_empty() {
            return Ok(Self::Default);
        }
        match text.split_once(':') {
            Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => {
                // Where the password ends must be beyond doubt, so that none of it is ever shown.
                let user = rest[2..].rsplit_once('@').map_or("", |(user, _)| user);
                if user.contains(['@', '/', '?', '#']) {
                    return Err("holds one of @ / ? # before its last @: in a password, write %40 %2F %3F %23".into());
                }
                Ok(Self::Postgres(Secret::new(text)))
            }
            Some(("sqlite", rest)) => {
                let path = rest.strip_prefix("//").unwrap_or(rest);
                match path {
                    "" | "/" => Err(format!("names no file: {ADVICE}")),
                    ":memory:" => Err(format!("would forget everything: {ADVICE}")),
                    path if path.contains('?') => Err(format!("has options, and a SQLite file takes none: {ADVICE}")),
                    path => Ok(Self::Sqlite(path.into())),
                }
            }
            Some((scheme, _)) if scheme.bytes().all(|b| b.is_ascii_alphanumeric()) && scheme.len() <= 16 => {
                Err(format!("{scheme}: is no database that is known: {ADVICE}"))
            }
            _ => Err(format!("is no address of a database: {ADVICE}")),
        }
    }
}

impl fmt::Display for StoreUrl {
    /// Writes it without passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = match self {
            Self::Default => return Ok(()),
            Self::Sqlite(path) => return write!(f, "sqlite:{}", path.display()),
            Self::Postgres(url) => url.expose(),
        };
        let (address, options) = url.split_once('?').map_or((url, None), |(address, options)| (address, Some(options)));
        let (scheme, authority) = address.split_once("://").unwrap_or(("postgres", address));
        write!(f, "{scheme}://")?;
        match authority.rsplit_once('@') {
            None => f.write_str(authority)?,
            Some((user, host)) => match user.split_once(':') {
                None => write!(f, "{user}@{host}")?,
                Some((user, _)) => write!(f, "{user}:[redacted]@{host}")?,
            },
        }
        for (index, option) in options.into_iter().flat_map(|options| options.split('&')).enumerate() {
            f.write_str(if index == 0 { "?" } else { "&" })?;
            // What is safe is listed, since an option may be spelt with percent signs.
            match option.split_once('=') {
                Some((key @ ("sslmode" | "sslrootcert" | "host" | "port" | "user" | "dbname"), value)) => {
                    write!(f, "{key}={value}")?;
                }
                Some((key, _)) => write!(f, "{key}=[redacted]")?,
                None => f.write_str("[redacted]")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// The address of any database that is known.
pub(crate) struct AnyStore;

impl Form for AnyStore {
    type Value = StoreUrl;
    const IN_FILE: bool = true;

    fn read(&self, value: &ValueKind) -> Result<StoreUrl, String> {
        StoreUrl::parse(hidden(value)?)
    }

    fn print(&self, value: &StoreUrl) -> Value {
        value.to_string().into()
    }

    fn schema(&self) -> Value {
        json!({ "type": "string", "examples": ["postgres://dogsled@db.example.com/dogsled"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_databases_and_the_default_are_told_apart() {
        assert_eq!(StoreUrl::parse(" "), Ok(StoreUrl::Default));
        for text in ["sqlite:/var/lib/t.db", "sqlite:///var/lib/t.db"] {
            assert_eq!(StoreUrl::parse(text), Ok(StoreUrl::Sqlite("/var/lib/t.db".into())));
        }
        assert_eq!(StoreUrl::parse("sqlite:t.db"), Ok(StoreUrl::Sqlite("t.db".into())));
        for text in ["postgres://h/d", "postgresql:///d?host=/run/postgresql"] {
            assert!(matches!(StoreUrl::parse(text), Ok(StoreUrl::Postgres(_))), "{text}");
        }
        for text in [
            "mysql://u:hunter2@h/d",
            "tenants.db",
            "sqlite:",
            "sqlite::memory:",
            "sqlite:a?mode=ro",
            "postgres:x",
            "hunter2:x@y",
        ] {
            let error = StoreUrl::parse(text).unwrap_err();
            assert!(error.contains("write \"\" for SQLite") && !error.contains("x@y"), "{error}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        for (url, shown) in [
            ("postgres://me:hunter2@h:5432/d", "postgres://me:[redacted]@h:5432/d"),
            ("postgres://me:hun%40ter2@h/d?sslmode=require", "postgres://me:[redacted]@h/d?sslmode=require"),
            ("postgres://me@h/d", "postgres://me@h/d"),
            ("postgresql:///d?password=hunter2&host=/run", "postgresql:///d?password=[redacted]&host=/run"),
            ("postgres://h/d?p%61ssword=hunter2", "postgres://h/d?p%61ssword=[redacted]"),
            ("postgres://h/d?hunter2", "postgres://h/d?[redacted]"),
        ] {
            let url = StoreUrl::parse(url).unwrap();
            assert_eq!(url.to_string(), shown);
            assert!(!format!("{url:?}").contains("hunter2"));
            assert!(!AnyStore.print(&url).to_string().contains("hunter2"));
        }
        for url in ["postgres://me:hun?ter2@h/d", "postgres://me:hun/ter2@h/d", "postgres://h/d?password=hun@ter2"] {
            let error = StoreUrl::parse(url).unwrap_err();
            assert!(error.contains("%40") && !error.contains("hun"), "{error}");
        }
    }
}
