//! Loading as a whole: what is taken, what is refused, and what is said about it.

mod secrets;

use super::{Settings, SettingsError};
use proptest::prelude::*;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

const KEY: &str = "0123456789abcdef0123456789abcdef";
const TOKEN: &str = "fedcba98765432100123456789abcdef";

/// A directory with a configuration file in it.
struct Files(tempfile::TempDir);

impl Files {
    fn new(config: &str) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.write("dogsled.toml", config, 0o600);
        files
    }

    fn write(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn load(&self, environment: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let environment = environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        Settings::load_with(Some(&self.0.path().join("dogsled.toml")), environment)
    }
}

/// The errors of a configuration, one a line, places without their directory.
fn errors(config: &str) -> String {
    errors_with(config, &[])
}

fn errors_with(config: &str, environment: &[(&str, &str)]) -> String {
    let files = Files::new(config);
    let error = files.load(environment).expect_err(config).to_string();
    error.replace(&format!("{}/", files.0.path().display()), "")
}

#[track_caller]
fn assert_error(config: &str, expected: &str) {
    let errors = errors(config);
    assert!(errors.lines().any(|line| line.contains(expected)), "{expected:?} in\n{errors}\nof\n{config}");
}

#[test]
fn what_is_printed_reads_back_the_same() {
    let config = r#"
        ingest = { max_body = "5MB", header_timeout = "1m30s" }
        tenancy.default = "b"
        delivery.retry_initial = "250ms"
        batch = { compression = "zstd", level = 19 }
        [tenants.b]
        site = "stand-in.test"
        [datadog.sites."stand-in.test"]
        logs = "http://127.0.0.1:9000"
    "#;
    let settings = Settings::from_toml(config).unwrap();
    assert_eq!(settings.ingest.header_timeout, Duration::from_secs(90));
    let printed = settings.to_toml();
    assert_eq!(Settings::from_toml(&printed).unwrap().to_toml(), printed);
    for line in ["max_body = \"5MB\"", "header_timeout = \"1m30s\"", "retry_initial = \"250ms\"", "default = \"b\""] {
        assert!(printed.contains(line), "{line} in\n{printed}");
    }
}

#[test]
fn a_missing_file_is_an_error_only_when_it_was_named() {
    let missing = PathBuf::from("/nonexistent/dogsled.toml");
    let error = Settings::load_with(Some(&missing), []).unwrap_err().to_string();
    assert_eq!(error, "/nonexistent/dogsled.toml: no such file: check the path given with --config");
    if !PathBuf::from(super::DEFAULT_PATH).exists() {
        assert_eq!(Settings::load_with(None, []).unwrap().to_toml(), Settings::default().to_toml());
    }
}

#[test]
fn what_is_not_toml_is_refused_with_its_line_and_column() {
    assert_eq!(errors("[ingest]\nlisten = 127.0.0.1\n").lines().count(), 1);
    assert_error("[ingest]\nlisten = \n", "dogsled.toml:2:10: not TOML");
    assert_error("[log]\nlevel = \"info\"\nlevel = \"warn\"\n", "dogsled.toml:3:1: not TOML: duplicate key");
}

#[test]
fn a_file_with_syntax_errors_is_not_judged_by_what_else_is_missing() {
    let environment = [("DOGSLED_INGEST__LISTEN", "0.0.0.0:8282"), ("DOGSLED_TENANCY__DEFAULT", "acme")];
    let errors = errors_with("[ingest]\nrequire_token = true\n[tenants.acme\n", &environment);
    assert!(errors.lines().all(|line| line.contains("not TOML")), "{errors}");
}

#[test]
fn all_problems_are_reported_at_once_each_with_its_place() {
    let config = "[ingest]\nmax_body = \"16XB\"\nmax_boddy = 5\nrequire_token = 1\n[delivery]\ntimeout = \"0s\"\n\
                  retry_initial = \"1h\"\nretry_max = \"5m\"\n[lgo]\n[tenants.\"a/b\"]\n[tenants.acme]\nsite = \"eu\"\n";
    let errors = errors_with(config, &[("DOGSLED_LOG__FORMAT", "xml"), ("DOGSLED_INGEST__LISTN", "x")]);
    for expected in [
        "dogsled.toml:2: ingest.max_body: \"16XB\" is not a size",
        "dogsled.toml:3: ingest.max_boddy: unknown key; did you mean \"max_body\"?",
        "dogsled.toml:4: ingest.require_token: 1 is neither true nor false",
        "dogsled.toml:6: delivery.timeout: \"0s\" is out of range: 1ms to 1h",
        "dogsled.toml:7: delivery.retry_initial: 1h is more than delivery.retry_max, which is 5m",
        "dogsled.toml:9: lgo: unknown section; did you mean \"log\"?",
        "dogsled.toml:10: tenants.\"a/b\": \"a/b\" is not a tenant id",
        "dogsled.toml:12: tenants.acme.site: \"eu\" is no known site; did you mean \"datadoghq.eu\"?",
        "DOGSLED_LOG__FORMAT: log.format: \"xml\" is none of auto, human, json",
        "DOGSLED_INGEST__LISTN: ingest.listn: unknown key; did you mean \"listen\"?",
    ] {
        assert!(errors.lines().any(|line| line.starts_with(expected)), "{expected:?} in\n{errors}");
    }
    assert_eq!(errors.lines().count(), 10, "{errors}");
}

#[test]
fn wrong_types_are_refused_by_value() {
    for (config, expected) in [
        ("admin.listen = 8282", "8282 is not text: put it in quotes"),
        ("ingest.max_connections = \"many\"", "\"many\" is not a whole number"),
        ("ingest.max_connections = 1.5", "\"1.5\" is not a whole number"),
        ("ingest.max_connections = 0", "0 is out of range: 1 to"),
        ("ingest.max_connections = -1", "-1 is out of range"),
        ("ingest.max_connections = 99999999999999999999", "99999999999999999999 is too large a number"),
        ("ingest.max_body = -5", "-5 is negative"),
        ("ingest.max_body = []", "a list is not a size"),
        ("ingest.max_body = \"1KB\"", "\"1KB\" is out of range: 1KiB to 1GiB"),
        ("ingest = 5", "is a number but must be a table: write [ingest]"),
        ("tenants = []", "is a list but must be a table"),
        ("tenants.acme = \"x\"", "is text but must be a table"),
        ("delivery.timeout = 30", "30 has no unit: write \"30s\""),
        ("delivery.timeout = 1979-05-27", "is not a duration"),
        ("batch.compression = \"lz4\"", "is none of auto, zstd, gzip, deflate, none"),
        ("tenants.acme.ingest_tokens = 5", "is not a list"),
        ("tenants.acme.ingest_tokens = [5]", "item 1 is not text"),
    ] {
        assert_error(config, expected);
    }
}

#[test]
fn the_environment_wins_over_the_file() {
    let files =
        Files::new("[ingest]\nmax_body = \"1MiB\"\nmax_connections = 7\n[tenants.Acme-Inc]\nsite = \"datadoghq.eu\"\n");
    let settings = files.load(&[
        ("DOGSLED_INGEST__MAX_BODY", "2MiB"),
        ("DOGSLED_INGEST__REQUIRE_TOKEN", "true"),
        ("DOGSLED_DELIVERY__CONCURRENCY", "9"),
        ("DOGSLED_TENANTS__ACME_INC__API_KEY", KEY),
        ("DOGSLED_TENANTS__BETA__INGEST_TOKENS", &format!("{TOKEN}, {KEY}")),
        ("DOGSLED_DATADOG__SITES__US3_DATADOGHQ_COM__API", "https://proxy.test:8443/"),
        ("DOGSLED_PORT_8282_TCP", "tcp://10.0.0.1:8282"),
        ("OTHER__KEY", "x"),
    ]);
    let settings = settings.unwrap();
    assert_eq!((settings.ingest.max_body, settings.ingest.max_connections), (2 << 20, 7));
    assert!(settings.ingest.require_token);
    assert_eq!(settings.delivery.concurrency, 9);
    let acme = &settings.tenants["Acme-Inc"];
    assert_eq!((acme.site.as_str(), acme.api_key.as_ref().unwrap().expose()), ("datadoghq.eu", KEY));
    assert_eq!(settings.tenants["beta"].site, "datadoghq.com", "the default site");
    assert_eq!(settings.tenants["beta"].ingest_tokens.len(), 2);
    let us3 = settings.datadog.sites.get("us3.datadoghq.com").unwrap().hosts;
    assert_eq!(
        (us3.api.as_str(), us3.logs.as_str()),
        ("https://proxy.test:8443", "https://http-intake.logs.us3.datadoghq.com")
    );
}

#[test]
fn a_variable_that_may_mean_several_tenants_is_refused_unless_one_is_spelt_so() {
    let variable = [("DOGSLED_TENANTS__A_B__API_KEY", KEY)];
    let errors = errors_with("[tenants.a-b]\n[tenants.\"A.b\"]\n", &variable);
    assert!(errors.contains("DOGSLED_TENANTS__A_B__API_KEY: may mean any of A.b, a-b"), "{errors}");
    let settings = Files::new("[tenants.a-b]\n[tenants.a_b]\n").load(&variable).unwrap();
    assert!(settings.tenants["a_b"].api_key.is_some() && settings.tenants["a-b"].api_key.is_none());
}

#[test]
fn a_variable_with_one_underscore_too_few_is_pointed_out() {
    let settings = Files::new("").load(&[("DOGSLED_INGEST_MAX_BODY", "2MiB")]).unwrap();
    let warnings = settings.warnings.join("\n");
    assert!(
        warnings.contains("DOGSLED_INGEST_MAX_BODY is ignored; did you mean DOGSLED_INGEST__MAX_BODY"),
        "{warnings}"
    );
}

#[test]
fn addresses_that_others_reach_need_tokens_or_a_word() {
    let open = "[ingest]\nlisten = \"0.0.0.0:8282\"\n";
    assert_error(open, "dogsled.toml:2: ingest.listen: 0.0.0.0:8282 is reachable from other machines");
    assert_error("ingest.listen = \"[::]:8282\"", "reachable");
    for fine in [
        format!("{open}require_token = true\n"),
        format!("{open}allow_anonymous = true\n"),
        "ingest.listen = \"[::1]:8282\"".into(),
        "ingest.listen = \"127.9.9.9:0\"".into(),
        "ingest.listen = \"localhost:8282\"".into(),
        "ingest = { listen = \"\", socket = \"/run/dogsled/ingest.sock\" }".into(),
    ] {
        Settings::from_toml(&fine).unwrap();
    }
}

#[test]
fn addresses_to_listen_on_are_checked() {
    for (config, expected) in [
        ("ingest.listen = \":8282\"", "write 127.0.0.1:8282"),
        ("ingest.listen = \"8282\"", "write 127.0.0.1:8282"),
        ("admin.listen = \"example.com:80\"", "write an IP address and a port"),
        ("ingest.listen = \"\"", "nothing could be received"),
        ("admin.listen = \"127.0.0.1:8282\"", "is the address of ingest.listen too"),
        ("ingest.listen = [\"[::1]:8282\", \"[::1]:8282\"]", "is the address of ingest.listen too"),
        ("ingest.listen = [\"127.0.0.1:8282\", \"8283\"]", "write 127.0.0.1:8283"),
        ("ingest.listen = [8282]", "item 1 is not text"),
    ] {
        assert_error(config, expected);
    }
    assert_error(&format!("ingest.socket = \"/{}\"", "x".repeat(107)), "too long for a socket");
}

#[test]
fn hosts_of_sites_must_be_base_addresses_and_encrypted_beyond_loopback() {
    let api = |value: &str| format!("[datadog.sites.\"datadoghq.eu\"]\napi = {value:?}\n");
    for (value, expected) in [
        ("api.datadoghq.eu", "is no http:// or https:// address"),
        ("ftp://api.datadoghq.eu", "is no http:// or https:// address"),
        ("https://", "is no"),
        ("https://a b", "is no"),
        ("https://api.datadoghq.eu/api", "holds more than scheme, host and port"),
        ("https://api.datadoghq.eu?x", "holds more than"),
        ("https://u:p@api.datadoghq.eu", "holds a user name or password"),
        ("http://api.datadoghq.eu", "would send API keys unencrypted"),
        ("http://localhost.example.com", "would send API keys unencrypted"),
        ("http://127.0.0.1.example.com", "would send API keys unencrypted"),
        ("http://[::2]", "would send API keys unencrypted"),
        ("http://0.0.0.0:80", "would send API keys unencrypted"),
    ] {
        assert_error(&api(value), expected);
    }
    for (value, base) in [
        ("http://127.1.2.3:9000", "http://127.1.2.3:9000"),
        ("http://[::1]:9000/", "http://[::1]:9000"),
        ("HTTP://localhost:9000", "http://localhost:9000"),
        ("https://proxy.test", "https://proxy.test"),
    ] {
        let settings = Settings::from_toml(&api(value)).unwrap();
        assert_eq!(settings.datadog.sites.get("datadoghq.eu").unwrap().hosts.api, base);
    }
    let allowed = format!("datadog.allow_plaintext = true\n{}", api("http://proxy.test"));
    Settings::from_toml(&allowed).unwrap();
    assert_error("[datadog.sites.\"a/b\"]", "is no name of a site");
}

#[test]
fn an_unknown_site_is_refused_with_the_known_ones_and_a_table_makes_it_known() {
    assert_error("tenants.acme.site = \"zz.test\"", "is no known site; the known ones are ap1.datadoghq.com, ");
    assert_error("tenants.acme.site = \"zz.test\"", "to add one, write [datadog.sites.\"zz.test\"]");
    assert_error("datadog.default_site = \"US5\"", "did you mean \"us5.datadoghq.com\"?");
    let settings = Settings::from_toml("tenants.acme.site = \"zz.test\"\n[datadog.sites.\"zz.test\"]\n").unwrap();
    assert_eq!(settings.datadog.sites.get("zz.test").unwrap().hosts.logs, "https://http-intake.logs.zz.test");
}

#[test]
fn an_oauth_client_is_taken_whole_or_not_at_all() {
    let files = Files::new("");
    let secret = files.write("client.secret", "s3cret\n", 0o600);
    let whole = format!(
        "[oauth]\nclient_id = \"c\"\nclient_secret_file = {secret:?}\nredirect_uri = \"https://x.example/oauth/callback\"\n\
         listen = \"127.0.0.1:8284\"\nsuccess_url = \"http://127.0.0.1:3000/done?a=b\"\n"
    );
    files.write("dogsled.toml", &whole, 0o644);
    let settings = files.load(&[]).unwrap();
    assert!(settings.oauth.is_configured());
    assert_eq!(settings.oauth.client_secret.as_ref().unwrap().expose(), "s3cret");
    assert!(!settings.to_toml().contains("s3cret"));
    for (change, expected) in [
        ("client_id = \"c\"", "oauth.client_secret_file: is missing, but oauth.client_id is set"),
        ("client_id = \"c\"", "oauth.redirect_uri: is missing"),
        ("listen = \"127.0.0.1:8284\"", "oauth.client_id: is missing, but oauth.listen is set"),
        ("listen = \"8284\"", "write 127.0.0.1:8284"),
        ("listen = \"127.0.0.1:8283\"", "the address of admin.listen too"),
        ("redirect_uri = \"x.example/callback\"", "oauth.redirect_uri: is no address"),
        ("redirect_uri = \"http://x.example/callback\"", "oauth.redirect_uri: must begin with https://"),
        ("redirect_uri = \"https://a:b@x.example/\"", "holds a user name or password"),
        ("redirect_uri = \"https://x.example/#a\"", "has a fragment"),
        ("success_url = \"javascript:alert(1)\"", "oauth.success_url: must begin with https://"),
        ("client_secret = \"s3cret\"\nclient_secret_file = \"/nowhere\"", "\"/nowhere\" cannot be read"),
    ] {
        assert_error(&format!("[oauth]\n{change}\n"), expected);
    }
    let open = Settings::from_toml(
        "[oauth]\nclient_id = \"c\"\nclient_secret = \"s\"\nredirect_uri = \"https://x.example/\"\nlisten = \"0.0.0.0:8284\"",
    );
    assert!(open.unwrap().warnings.iter().any(|warning| warning.contains("put a proxy with TLS")));
}

#[test]
fn the_local_port_listens_on_several_addresses() {
    for (config, addresses) in [
        ("ingest.listen = [\"127.0.0.1:8282\", \"[::1]:8282\"]", &["127.0.0.1:8282", "[::1]:8282"][..]),
        ("ingest.listen = \"127.0.0.1:8282, [::1]:8282\"", &["127.0.0.1:8282", "[::1]:8282"]),
        ("ingest = { listen = [], socket = \"/s\" }", &[]),
    ] {
        let settings = Settings::from_toml(config).unwrap();
        assert_eq!(settings.ingest.listen, addresses);
        assert_eq!(Settings::from_toml(&settings.to_toml()).unwrap().ingest.listen, addresses);
    }
    assert_error("ingest.listen = [\"127.0.0.1:8282\", \"0.0.0.0:8283\"]", "0.0.0.0:8283 is reachable");
}

#[test]
fn two_sockets_have_two_paths() {
    assert_error("ingest.socket = \"/s\"\nadmin.socket = \"/s\"", "is the path of admin.socket too");
}

#[test]
fn defaults_give_way_to_a_key_that_is_set_alone() {
    for (config, key, effective) in [
        ("journal.max_bytes = \"1GB\"", "max_bytes_per_tenant", "1GB"),
        ("journal.max_bytes = \"8MiB\"", "max_body", "8MiB"),
        ("journal.max_bytes_per_tenant = \"2MiB\"", "max_body", "2MiB"),
        ("delivery.retry_max = \"500ms\"", "retry_initial", "500ms"),
        ("delivery.retry_initial = \"10m\"", "retry_max", "10m"),
    ] {
        let settings = Settings::from_toml(config).unwrap();
        let line = format!("{key} = \"{effective}\"");
        assert!(settings.to_toml().lines().any(|found| found == line), "{config}: {line} in {}", settings.to_toml());
    }
    let fewer = Settings::from_toml("tenants.a = {}\ndelivery.concurrency = 2").unwrap();
    assert_eq!((fewer.delivery.concurrency_per_tenant, fewer.warnings.len()), (2, 1), "{:?}", fewer.warnings);
    // Two values that were given are never changed.
    assert_error(
        "journal = { max_bytes = \"1GB\", max_bytes_per_tenant = \"1GiB\" }",
        "1GiB is more than journal.max_bytes",
    );
}

#[test]
fn tags_name_tenants_only_when_asked_to() {
    assert!(!Settings::default().tenancy.from_tags);
}

#[test]
fn values_must_make_sense_together() {
    for (config, expected) in [
        ("batch = { compression = \"gzip\", level = 10 }", "10 is too high for this compression: 1 to 9"),
        ("batch = { compression = \"none\", level = 1 }", "means nothing without compression"),
        ("batch.level = 20", "20 is out of range: 0 to 19"),
        ("tenancy.default = \"acmee\"\n[tenants.acme]", "\"acmee\" is no tenant; did you mean \"acme\"?"),
        ("tenancy.default = \"a b\"", "is not a tenant id"),
        ("tenancy.header = \"X Tenant\"", "is no name of an HTTP header"),
        ("tenancy.tag = \"a:b\"", "is no key of a tag"),
        ("log.level = \"inof\"", "\"inof\" is no level; did you mean \"info\"?"),
        ("log.level = \"info,dogsled=loud\"", "is no level and no list of directives"),
        ("datadog.ca_file = \"/nonexistent.pem\"", "datadog.ca_file: \"/nonexistent.pem\" cannot be read"),
    ] {
        assert_error(config, expected);
    }
    Settings::from_toml("log.level = \"warn,dogsled::deliver=debug\"").unwrap();
    Settings::from_toml("tenancy.default = \"later\"").unwrap();
    // What finds no memory waits on disk.
    Settings::from_toml("ingest.max_body = \"64MiB\"\nmemory.max_queue_bytes = \"32MiB\"").unwrap();
}

proptest! {
    #[test]
    fn any_text_is_loaded_or_refused_without_a_panic(
        text in r#"(\[{1,2}(tenants|datadog\.sites|ingest|log)(\."?[a-z./]{0,3}"?)?\]{1,2}\n|(listen|api|api_key|level|socket) ?= ?("[^"\n]{0,9}"|-?[0-9.]{1,4}|\[.{0,4}\]|true)\n|.{0,3}){0,9}"#,
        name in "DOGSLED_[A-Z_]{0,20}",
        value in ".{0,9}",
    ) {
        let _ = Files::new(&text).load(&[(&name, &value)]);
    }
}
