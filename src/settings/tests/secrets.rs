//! Secrets: where they come from, and that they are never shown.

use super::{Files, KEY, TOKEN, assert_error, errors};
use crate::settings::{Settings, StoreUrl};

#[test]
fn a_syntax_error_in_a_line_with_a_key_does_not_show_it() {
    for line in [format!("api_key = \"{KEY}"), format!("api_key = {KEY}"), format!("api_key \"{KEY}\"")] {
        let errors = errors(&format!("[tenants.acme]\n{line}\n"));
        assert!(errors.contains("dogsled.toml:2:") && !errors.contains(&KEY[..8]), "{errors}");
    }
}

#[test]
fn the_store_and_its_key_are_named_in_several_ways_and_shown_in_none() {
    let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHv8=";
    let url = "postgres://me:hunter2@db.example/dogsled";
    let files = Files::new("");
    let from_file = files.write("url", url, 0o600);
    files.write("dogsled.toml", &format!("[store]\nurl_file = {from_file:?}\n"), 0o600);
    let settings = files.load(&[("DOGSLED_STORE__MASTER_KEY", key)]).unwrap();
    assert_eq!(settings.store.url, StoreUrl::parse(url).unwrap());
    assert_eq!(settings.store.master_key.as_ref().unwrap().expose(), key);
    for text in [settings.to_toml(), settings.to_json().to_string(), format!("{settings:?}")] {
        assert!(!text.contains("hunter2") && !text.contains(key), "{text}");
        assert!(text.contains("me:[redacted]@db.example"), "{text}");
    }

    files.write("dogsled.toml", &format!("[store]\nmaster_key = {key:?}\n"), 0o644);
    let warnings = files.load(&[]).unwrap().warnings.join("\n");
    assert!(warnings.contains("dogsled.toml holds a secret"), "{warnings}");
    for (config, expected) in [
        (format!("[store]\nurl = {url:?}\nurl_file = {from_file:?}\n"), "store.url: given here and as url_file too"),
        ("store.url = \"mysql://h/d\"".into(), "store.url: mysql: is no database that is known"),
        (format!("[store]\nmaster_key_file = {key:?}\n"), "looks like a key itself"),
        (format!("[store]\nmaster_key = {key:?}\nmaster_key_file = \"/k\"\n"), "given here and as master_key_file too"),
    ] {
        assert_error(&config, expected);
        assert!(!errors(&config).contains(key) && !errors(&config).contains("hunter2"));
    }
}

#[test]
fn secrets_come_from_files_trimmed() {
    let files = Files::new("");
    let key = files.write("key", &format!("\n {KEY} \n"), 0o600);
    let tokens = files.write("tokens", &format!("{TOKEN}\n{KEY}\n"), 0o640);
    let config = format!("[tenants.acme]\napi_key_file = {key:?}\ningest_tokens_file = {tokens:?}\n");
    files.write("dogsled.toml", &config, 0o644);
    let settings = files.load(&[]).unwrap();
    let acme = &settings.tenants["acme"];
    assert_eq!(acme.api_key.as_ref().unwrap().expose(), KEY);
    assert_eq!(acme.ingest_tokens.iter().map(|token| token.expose()).collect::<Vec<_>>(), [TOKEN, KEY]);
    assert_eq!(settings.warnings.len(), 1, "{:?}", settings.warnings);
    assert!(settings.warnings[0].contains("one of them is the API key"), "{:?}", settings.warnings);
}

#[test]
fn secret_files_that_are_no_good_are_refused_by_key_and_path() {
    let files = Files::new("");
    let empty = files.write("empty", " \n", 0o600);
    let binary = files.write("binary", "", 0o600);
    std::fs::write(&binary, b"\xff\xfe").unwrap();
    for (path, expected) in [
        ("/nonexistent".as_ref(), "tenants.acme.api_key_file: \"/nonexistent\" cannot be read: No such file"),
        (files.0.path(), "cannot be read: Is a directory"),
        (empty.as_path(), "is empty"),
        (binary.as_path(), "is not UTF-8 text"),
        (KEY.as_ref(), "looks like a secret itself"),
    ] {
        assert_error(&format!("[tenants.acme]\napi_key_file = {path:?}\n"), expected);
    }
    let key = files.write("key", KEY, 0o600);
    assert_error(
        &format!("[tenants.acme]\napi_key = \"{KEY}\"\napi_key_file = {key:?}\n"),
        "api_key_file too: keep one",
    );
}

#[test]
fn a_file_with_secrets_that_others_read_is_refused() {
    let files = Files::new("");
    let key = files.write("key", KEY, 0o644);
    files.write("dogsled.toml", &format!("[tenants.acme]\napi_key_file = {key:?}\n"), 0o644);
    // In memory, where container runtimes have their secrets, it is a warning.
    let told = match files.load(&[]) {
        Ok(settings) => settings.warnings.join("\n"),
        Err(error) => error.to_string(),
    };
    assert!(told.contains("tenants.acme.api_key_file: ") && told.contains("can be read by every user"), "{told}");
    files.write("key", KEY, 0o620);
    let error = files.load(&[]).unwrap_err().to_string();
    assert!(error.contains("can be changed by other users") && error.contains("mode 620"), "{error}");
}

#[test]
fn a_configuration_with_secrets_that_others_read_is_warned_of() {
    let files = Files::new("");
    let key = files.write("key", KEY, 0o640);
    files.write("dogsled.toml", &format!("[tenants.acme]\napi_key_file = {key:?}\n"), 0o644);
    assert_eq!(files.load(&[]).unwrap().warnings, [""; 0], "the configuration itself holds none");
    files.write("dogsled.toml", &format!("[tenants.acme]\napi_key = \"{KEY}\"\n"), 0o644);
    let warnings = files.load(&[]).unwrap().warnings.join("\n");
    assert!(warnings.contains("dogsled.toml holds a secret"), "{warnings}");
}

#[test]
fn keys_and_tokens_must_look_their_part() {
    let warnings = Settings::from_toml("[tenants.acme]\napi_key = \"custom-key\"\n").unwrap().warnings;
    assert!(warnings.iter().any(|warning| warning.contains("does not look like an API key")), "{warnings:?}");
    assert_error("[tenants.acme]\napi_key = \"two words\"\n", "characters that no API key has");
    assert_error("[tenants.acme]\ningest_tokens = [\"0123\"]\n", "token 1 is not one: a token is exactly 32");
    let upper = TOKEN.to_uppercase();
    let config =
        format!("[tenants.acme]\ningest_tokens = [\"{TOKEN}\"]\n[tenants.beta]\ningest_tokens = [\"{upper}\"]\n");
    assert_error(&config, "dogsled.toml:4: tenants.beta.ingest_tokens: token 1 is one of tenant acme too");
}

#[test]
fn no_error_or_warning_shows_a_secret_wherever_it_was_put() {
    let short = "hunter2-hunter2";
    for config in [
        format!("[tenants.acme]\napi_kye = \"{KEY}\"\n"),
        format!("[tenants.acme]\napi_key = \"{short} {KEY}\"\n"),
        format!("[tenants.acme]\napi_key_file = \"{KEY}\"\n"),
        format!("[tenants.acme]\napi_key_file = \"x{KEY}\"\n"),
        format!("[tenants.acme]\nsite = \"{KEY}\"\n"),
        format!("[tenants.acme]\ningest_tokens = [\"{short}\"]\n"),
        format!("[tenants.acme]\ningest_tokens = \"{short},{KEY}\"\n"),
        format!("[tenants]\nacme = \"{short}\"\n"),
        format!("[tenants.acme]\n{KEY} = 1\n"),
        format!("[tenants.\"{KEY}/\"]\n"),
        format!("[{KEY}]\n"),
        format!("[tenancy]\ndefault = \"{}{KEY} {KEY}\"\n", "x".repeat(60)),
        format!("[datadog.sites.\"datadoghq.eu\"]\napi = \"https://user:{short}@datadoghq.eu\"\n"),
        format!("[datadog.sites.\"datadoghq.eu\"]\napi = \"user:{short}@datadoghq.eu\"\n"),
    ] {
        let errors = errors(&config);
        assert!(!errors.contains(&KEY[..8]) && !errors.contains(short), "{errors}\nof\n{config}");
    }
    let config = format!("[tenants.acme]\napi_key = \"{short}\"\ningest_tokens = [\"{TOKEN}\"]\n");
    let settings = Settings::from_toml(&config).unwrap();
    for text in
        [settings.warnings.join("\n"), format!("{settings:?}"), settings.to_toml(), settings.to_json().to_string()]
    {
        assert!(!text.contains(short) && !text.contains(TOKEN), "{text}");
    }
}

#[test]
fn secrets_that_are_shared_or_travel_in_clear_are_warned_of() {
    for (config, warning) in [
        (
            format!("tenants.a.api_key = \"{KEY}\"\ntenants.b.api_key = \"{}\"", KEY.to_uppercase()),
            "tenants.b.api_key: is the API key of tenant a too",
        ),
        (
            format!(
                "ingest = {{ listen = \"0.0.0.0:8282\", require_token = true }}\ntenants.a.ingest_tokens = [\"{TOKEN}\"]"
            ),
            "ingest.listen: 0.0.0.0:8282 is reachable from other machines, and ingest tokens travel there in clear",
        ),
        (
            "datadog.allow_plaintext = true\n[datadog.sites.\"a.test\"]\napi = \"http://a.test\"".into(),
            "datadog.sites.\"a.test\".api: http://a.test is not encrypted: API keys travel there in clear",
        ),
    ] {
        let warnings = Settings::from_toml(&config).unwrap().warnings.join("\n");
        assert!(warnings.contains(warning) && !warnings.contains(&KEY[..8]), "{warning} in {warnings}");
    }
    let fine = Settings::from_toml("[datadog.sites.\"datadoghq.com\"]\napi = \"http://127.0.0.1:1\"").unwrap();
    assert!(!fine.warnings.join("\n").contains("clear"), "{:?}", fine.warnings);
}
