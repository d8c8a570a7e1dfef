//! Loading: file and environment are merged, read section by section, and checked as a whole.

use super::check::check;
use super::datadog::read_sites;
use super::form::tenant_id;
use super::problems::{Origin, Problems, SettingsError, join};
use super::reader::{Reader, Tree};
use super::section::SECTIONS;
use super::source::TENANTS;
use super::{Settings, StaticTenant, secrets, source};
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
        let mut settings = Self::load_with(path, std::env::vars_os())?;
        settings.warnings.extend(settings.volume_warning());
        Ok(settings)
    }

    /// Like [`load`](Self::load), with an environment of its own, and without a look at the machine.
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
        for section in SECTIONS {
            let mut reader = Reader::take(&mut tree, section.name(), problems);
            section.read(self, &mut reader);
            if section.name() == "datadog" {
                sites = Some(reader.tables("sites"));
            }
            self.secret_files.extend(reader.finish());
        }
        read_sites(&mut self.datadog, sites.unwrap_or_default(), problems);
        self.read_tenants(&mut tree, problems);
        self.fit_defaults(problems);
        check(self, problems);
    }

    /// Has defaults give way to values that were given, so that each key can be set alone.
    fn fit_defaults(&mut self, problems: &Problems) {
        let (journal, delivery, body) = (&mut self.journal, &mut self.delivery, &mut self.ingest.max_body);
        let default = |key: &str| !problems.is_given(key);
        if default("journal.max_bytes_per_tenant") {
            journal.max_bytes_per_tenant = journal.max_bytes_per_tenant.min(journal.max_bytes);
        }
        if default("ingest.max_body") {
            *body = (*body).min(journal.max_bytes_per_tenant);
        }
        if default("delivery.retry_max") {
            delivery.retry_max = delivery.retry_max.max(delivery.retry_initial);
        }
        if default("delivery.retry_initial") {
            delivery.retry_initial = delivery.retry_initial.min(delivery.retry_max);
        }
        if default("delivery.concurrency_per_tenant") {
            delivery.concurrency_per_tenant = delivery.concurrency_per_tenant.min(delivery.concurrency);
        }
    }

    fn read_tenants(&mut self, tree: &mut Tree, problems: &mut Problems) {
        for (name, values) in Reader::take(tree, TENANTS, problems).into_values() {
            let path = join(TENANTS, &name);
            let id = match tenant_id(&name) {
                Ok(id) => id,
                Err(error) => {
                    problems.error(&path, error);
                    continue;
                }
            };
            let mut tenant = StaticTenant::default();
            let mut reader = Reader::of(path, values, problems);
            tenant.read(&mut reader);
            self.secret_files.extend(reader.finish());
            if tenant.site.is_empty() {
                tenant.site.clone_from(&self.datadog.default_site);
            }
            self.tenants.insert(id, tenant);
        }
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
