//! Loading: file and environment are merged, read section by section, and checked as a whole.

use super::problems::{Place, Problems, SettingsError, join, without_keys};
use super::reader::Section;
use super::secrets;
use super::source::{self, Tree};
use super::{Compression, LogFormat, OwnLimits, OwnQuota, Settings, SiteHosts, StaticTenant, StoreUrl, check, oauth};
use crate::types::{Secret, TenantId};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The configuration file when none is named.
pub const DEFAULT_PATH: &str = "/etc/dogsled/dogsled.toml";

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const MILLISECOND: Duration = Duration::from_millis(1);
const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

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
        let name = path.display().to_string();
        let mut settings = Self::default();
        if let Some((text, mode)) = read {
            settings.assemble(&name, &text, environment, &mut problems);
            if let Some(key) = problems.first_inline_secret(&name) {
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
        self.read_daemon(&mut tree, problems);
        self.read_ingest(&mut tree, problems);
        self.oauth = oauth::read(&mut tree, problems);
        self.read_store(&mut tree, problems);
        self.read_delivery(&mut tree, problems);
        self.read_datadog(&mut tree, problems);
        self.read_limits(&mut tree, problems);
        self.read_tenants(&mut tree, problems);
        check::check(self, problems);
    }

    fn read_daemon(&mut self, tree: &mut Tree, problems: &mut Problems) {
        let mut state = Section::take(tree, "state", problems);
        let mut dir = String::new();
        state.text("dir", &mut dir);
        if !dir.is_empty() {
            self.state.dir = dir.into();
        }
        state.finish();

        self.journal.read(tree, problems);

        let mut memory = Section::take(tree, "memory", problems);
        memory.size("max_queue_bytes", &mut self.memory.max_queue_bytes, MIB..=TIB);
        memory.finish();

        let mut admin = Section::take(tree, "admin", problems);
        admin.text("listen", &mut self.admin.listen);
        admin.finish();

        let mut log = Section::take(tree, "log", problems);
        log.text("level", &mut self.log.level);
        let formats = [("auto", LogFormat::Auto), ("human", LogFormat::Human), ("json", LogFormat::Json)];
        log.choice("format", &mut self.log.format, &formats);
        log.finish();

        let mut shutdown = Section::take(tree, "shutdown", problems);
        shutdown.duration("grace", &mut self.shutdown.grace, Duration::ZERO..=HOUR);
        shutdown.finish();
    }

    fn read_ingest(&mut self, tree: &mut Tree, problems: &mut Problems) {
        let mut section = Section::take(tree, "ingest", problems);
        let ingest = &mut self.ingest;
        section.text("listen", &mut ingest.listen);
        section.text("socket", &mut ingest.socket);
        section.size("max_body", &mut ingest.max_body, 1_024..=1 << 30);
        section.number("max_connections", &mut ingest.max_connections, 1..=1_000_000);
        section.switch("require_token", &mut ingest.require_token);
        section.switch("allow_anonymous", &mut ingest.allow_anonymous);
        section.duration("header_timeout", &mut ingest.header_timeout, MILLISECOND..=HOUR);
        section.duration("body_timeout", &mut ingest.body_timeout, MILLISECOND..=HOUR);
        section.finish();

        let mut section = Section::take(tree, "tenancy", problems);
        let tenancy = &mut self.tenancy;
        section.text("header", &mut tenancy.header);
        section.text("tag", &mut tenancy.tag);
        section.switch("from_tags", &mut tenancy.from_tags);
        let mut default = String::new();
        section.text("default", &mut default);
        if !default.is_empty() {
            match tenant_id(&default) {
                Ok(id) => tenancy.default = Some(id),
                Err(error) => section.error("default", error),
            }
        }
        section.number("max_labels", &mut tenancy.max_labels, 0..=1_000_000);
        section.finish();
    }

    fn read_store(&mut self, tree: &mut Tree, problems: &mut Problems) {
        let mut section = Section::take(tree, "store", problems);
        let inline = section.secret("url");
        let from_file = secrets::from_file(&mut section, "url_file");
        if inline.is_some() && from_file.is_some() {
            section.error("url", "given here and as url_file too: keep one");
        }
        let key = if inline.is_some() { "url" } else { "url_file" };
        match StoreUrl::parse(&inline.or(from_file).unwrap_or_default()) {
            Ok(url) => self.store.url = url,
            Err(why) => section.error(key, why),
        }
        let mut file = String::new();
        section.text("master_key_file", &mut file);
        if secrets::looks_like_master_key(&file) {
            section.error("master_key_file", "looks like a key itself, but must be the path of a file that holds it");
        } else if !file.is_empty() {
            self.store.master_key_file = Some(file.into());
        }
        self.store.master_key = section.secret("master_key").map(Secret::new);
        if self.store.master_key.is_some() && self.store.master_key_file.is_some() {
            section.error("master_key", "given here and as master_key_file too: keep one");
        }
        section.finish();
    }

    fn read_delivery(&mut self, tree: &mut Tree, problems: &mut Problems) {
        let mut section = Section::take(tree, "batch", problems);
        let batch = &mut self.batch;
        section.duration("max_age", &mut batch.max_age, MILLISECOND..=HOUR);
        let compressions = [
            ("auto", Compression::Auto),
            ("zstd", Compression::Zstd),
            ("gzip", Compression::Gzip),
            ("deflate", Compression::Deflate),
            ("none", Compression::None),
        ];
        section.choice("compression", &mut batch.compression, &compressions);
        section.number("level", &mut batch.level, 0..=19);
        section.finish();

        let mut section = Section::take(tree, "delivery", problems);
        let delivery = &mut self.delivery;
        section.number("concurrency_per_tenant", &mut delivery.concurrency_per_tenant, 1..=1_000);
        section.number("concurrency", &mut delivery.concurrency, 1..=100_000);
        section.duration("timeout", &mut delivery.timeout, MILLISECOND..=HOUR);
        section.duration("retry_initial", &mut delivery.retry_initial, MILLISECOND..=HOUR);
        section.duration("retry_max", &mut delivery.retry_max, MILLISECOND..=DAY);
        section.switch("drop_late", &mut delivery.drop_late);
        section.duration("validate_interval", &mut delivery.validate_interval, SECOND..=30 * DAY);
        section.finish();
    }

    fn read_datadog(&mut self, tree: &mut Tree, problems: &mut Problems) {
        let mut section = Section::take(tree, "datadog", problems);
        let datadog = &mut self.datadog;
        section.text("default_site", &mut datadog.default_site);
        section.switch("allow_plaintext", &mut datadog.allow_plaintext);
        let mut ca_file = String::new();
        section.text("ca_file", &mut ca_file);
        datadog.ca_file = Some(ca_file).filter(|path| !path.is_empty()).map(PathBuf::from);
        let sites = section.tables("sites");
        section.finish();

        for (name, site) in sites {
            let path = join("datadog.sites", &name);
            let known = datadog.sites.get(&name);
            if known.is_none() && !check::is_host_name(&name) {
                problems.error(&path, format!("{name:?} is no name of a site: use a host name such as datadoghq.com"));
                continue;
            }
            let mut hosts = known.map_or_else(|| SiteHosts::standard(&name, &format!("app.{name}")), |site| site.hosts);
            let mut section = Section::of(path, site, problems);
            for (key, host) in [
                ("api", &mut hosts.api),
                ("logs", &mut hosts.logs),
                ("events", &mut hosts.events),
                ("app", &mut hosts.app),
            ] {
                let mut text = String::new();
                section.text(key, &mut text);
                match check::base_address(&text, datadog.allow_plaintext) {
                    _ if text.is_empty() => {}
                    Ok(address) => *host = address,
                    Err(why) => section.error(key, why),
                }
            }
            section.finish();
            datadog.sites.insert(&name, hosts);
        }
    }

    fn read_tenants(&mut self, tree: &mut Tree, problems: &mut Problems) {
        // Tokens are told apart whatever the case of their digits, as when a request brings one.
        let mut owners: BTreeMap<String, TenantId> = BTreeMap::new();
        for (name, tenant) in Section::take(tree, "tenants", problems).into_values() {
            let path = join("tenants", &name);
            let id = match tenant_id(&name) {
                Ok(id) => id,
                Err(error) => {
                    problems.error(&path, error);
                    continue;
                }
            };
            let mut section = Section::of(path, tenant, problems);
            let site = self.datadog.default_site.clone();
            let mut tenant = StaticTenant { site, ..StaticTenant::default() };
            let mut site = String::new();
            section.text("site", &mut site);
            if !site.is_empty() {
                tenant.site = site;
            }
            tenant.api_key = read_api_key(&mut section);
            tenant.ingest_tokens = read_tokens(&mut section, &id, &mut owners);
            if tenant.api_key.as_ref().is_some_and(|key| tenant.ingest_tokens.contains(key)) {
                let path = section.path("ingest_tokens");
                section.problems().warning(
                    &path,
                    "one of them is the API key: make it a token of its own, so that the key stays here",
                );
            }
            section.read(&mut tenant.own.limits, OwnLimits::KEYS);
            section.read(&mut tenant.own.journal, OwnQuota::KEYS);
            section.finish();
            self.tenants.insert(id, tenant);
        }
    }
}

fn tenant_id(text: &str) -> Result<TenantId, String> {
    // The message cuts long texts, and what is cut must not be half a key.
    TenantId::new(text).map_err(|_| match TenantId::new(&without_keys(text)) {
        Err(error) => error.to_string(),
        Ok(_) => "is not a tenant id".into(),
    })
}

fn read_api_key(section: &mut Section<'_>) -> Option<Secret> {
    let inline = section.secret("api_key");
    let from_file = secrets::from_file(section, "api_key_file");
    if inline.is_some() && from_file.is_some() {
        section.error("api_key", "given here and as api_key_file too: keep one");
    }
    let key = if inline.is_some() { "api_key" } else { "api_key_file" };
    let value = inline.or(from_file)?;
    if !secrets::fits_header(&value) {
        section.error(key, "holds characters that no API key has, such as a space or a line break in it");
    } else if !secrets::is_hex_key(&value) {
        let path = section.path(key);
        section.problems().warning(&path, "does not look like an API key of Datadog, which is 32 hexadecimal digits");
    }
    Some(Secret::new(value))
}

fn read_tokens(section: &mut Section<'_>, id: &TenantId, owners: &mut BTreeMap<String, TenantId>) -> Vec<Secret> {
    let inline = section.secrets("ingest_tokens");
    let from_file = secrets::from_file(section, "ingest_tokens_file").unwrap_or_default();
    if !inline.is_empty() && !from_file.is_empty() {
        section.error("ingest_tokens", "given here and as ingest_tokens_file too: keep one");
    }
    let from_file = from_file.split_whitespace().map(str::to_owned).enumerate();
    let tokens = inline.into_iter().enumerate().map(|(index, token)| ("ingest_tokens", index, token));
    let tokens = tokens.chain(from_file.map(|(index, token)| ("ingest_tokens_file", index, token)));
    let mut good = Vec::new();
    for (key, index, token) in tokens {
        let nth = index + 1;
        if !secrets::is_hex_key(&token) {
            let advice = "a token is exactly 32 hexadecimal digits, such as `openssl rand -hex 16` prints";
            section.error(key, format!("token {nth} is not one: {advice}"));
            continue;
        }
        match owners.insert(token.to_ascii_lowercase(), id.clone()) {
            Some(other) if other != *id => {
                section.error(key, format!("token {nth} is one of tenant {other} too: a token stands for one tenant"));
            }
            _ => good.push(Secret::new(token)),
        }
    }
    good
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
            problems.error_at(Some(Place::File(named.display().to_string())), "", message);
            None
        }
    }
}
