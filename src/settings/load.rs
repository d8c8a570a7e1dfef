//! Loading: file and environment are merged, read section by section, and checked as a whole.

use super::problems::{Origin, Problems, SettingsError};
use super::reader::Reader;
use super::{Settings, secrets, source};
use super::{address, batch, datadog, delivery, ingest, journal, oauth, store, tenancy, tenant};
use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The configuration file when none is named.
pub const DEFAULT_PATH: &str = "/etc/dogsled/dogsled.toml";

impl Settings {
    /// Loads the configuration of a file, [`DEFAULT_PATH`] when none is named, and of the environment, which wins:
    /// `DOGSLED_SECTION__KEY`, lists separated by commas. A missing default file means defaults. Files that are named
    /// within, such as `api_key_file`, are read too.
    ///
    /// # Errors
    /// When a file cannot be read, a key is unknown or a value is wrong; all such problems at once.
    pub fn load(path: Option<&Path>) -> Result<Self, SettingsError> {
        Self::load_with(path, std::env::vars_os())
    }

    /// Like [`load`](Self::load), with an environment of its own.
    ///
    /// # Errors
    /// As of [`load`](Self::load).
    pub fn load_with(
        path: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, SettingsError> {
        let mut problems = Problems::default();
        let read = read(path, &mut problems);
        let path = path.unwrap_or(Path::new(DEFAULT_PATH));
        let mut settings = Self::default();
        if let Some((text, mode)) = read {
            settings.assemble(&path.display().to_string(), &text, environment, &mut problems);
            if let Some(key) = problems.inline_secret() {
                secrets::warn_if_open(&key, path, mode, &mut problems);
            }
        }
        settings.warnings = problems.finish()?;
        Ok(settings)
    }

    /// The configuration of a TOML text alone, without any environment.
    ///
    /// # Errors
    /// As of [`load`](Self::load).
    pub fn from_toml(text: &str) -> Result<Self, SettingsError> {
        let mut problems = Problems::default();
        let mut settings = Self::default();
        settings.assemble("configuration", text, [], &mut problems);
        settings.warnings = problems.finish()?;
        Ok(settings)
    }

    fn assemble(
        &mut self,
        name: &str,
        text: &str,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        problems: &mut Problems,
    ) {
        // Without the file, what the environment says may be wrong only for what is missing.
        let Some(file) = source::from_toml(name, text, problems) else { return };
        let environment = source::from_environment(environment, &file, problems);
        let mut tree = source::merge(file, environment, problems);
        let mut sites = None;
        for section in &Self::SECTIONS {
            let mut reader = Reader::take(&mut tree, section.name, problems);
            reader.read(self, section.keys);
            if section.name == "datadog" {
                sites = Some(reader.tables("sites"));
            }
            self.secret_files.extend(reader.finish());
        }
        datadog::read_sites(self, sites.unwrap_or_default(), problems);
        tenant::read(self, &mut tree, problems);
        self.check(problems);
    }

    /// Checks what must hold between values.
    pub(super) fn check(&self, problems: &mut Problems) {
        address::check(self, problems);
        ingest::check(self, problems);
        oauth::check(self, problems);
        store::check(self, problems);
        tenancy::check(self, problems);
        tenant::check(self, problems);
        batch::check(self, problems);
        delivery::check(self, problems);
        journal::check(self, problems);
        datadog::check(self, problems);
    }
}

/// The text and mode of the configuration file, empty when the default one is missing; nothing when it cannot be read,
/// which is noted.
fn read(path: Option<&Path>, problems: &mut Problems) -> Option<(String, u32)> {
    let named = path.unwrap_or(Path::new(DEFAULT_PATH));
    let read = || -> std::io::Result<(String, u32)> {
        let mut file = File::open(named)?;
        let mode = file.metadata()?.permissions().mode();
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        Ok((text, mode))
    };
    match read() {
        Ok(read) => Some(read),
        Err(error) if path.is_none() && error.kind() == ErrorKind::NotFound => Some((String::new(), 0)),
        Err(error) => {
            let message = match error.kind() {
                ErrorKind::NotFound => "no such file: check the path given with --config".to_owned(),
                ErrorKind::InvalidData => "is not UTF-8 text".to_owned(),
                _ => format!("cannot be read: {error}"),
            };
            problems.error_at(Some(Origin::File(named.display().to_string())), "", message);
            None
        }
    }
}
