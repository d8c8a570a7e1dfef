//! No secret is in a file, a row or an error, in any form.

use super::harness::{add, both, tokens};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use dogsled::store::{Change, Guard, NewKey, Origin, Pending, Replaces};
use dogsled::types::{Secret, UnixMillis};
use std::path::Path;

const API_KEY: &str = "9d1e5ac37b0f4428a6c2e8d0b1f3957a";
const ACCESS: &str = "ddacc_q0W1e2R3t4Y5u6I7o8P9";
const REFRESH: &str = "ddref_Z9x8C7v6B5n4M3a2S1d0";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const STATE: &str = "st_4f8a1c6be2d94730";
const INGEST: &str = "b7c41e09d2f85a6390ce17ab34d86f52";

/// Every form in which a secret might be written: as it is, in hexadecimal, and in base64 wherever it stands in a text.
fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let hex: String = secret.iter().map(|b| format!("{b:02x}")).collect();
    let mut forms = vec![secret.to_vec(), hex.to_uppercase().into_bytes(), hex.into_bytes()];
    for shift in 0..3 {
        let mut shifted = vec![0; shift];
        shifted.extend_from_slice(secret);
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let text = engine.encode(&shifted);
            // Without the characters that depend on what stands before and after.
            forms.push(text.as_bytes()[4..text.len() - 4].to_vec());
        }
    }
    forms
}

fn assert_absent(haystack: &[u8], whose: &str, secrets: &[Vec<u8>]) {
    for (index, secret) in secrets.iter().enumerate() {
        for form in forms(secret) {
            let found = haystack.windows(form.len()).any(|window| window.eq_ignore_ascii_case(&form));
            assert!(!found, "secret {index} is in {whose} as {}", String::from_utf8_lossy(&form));
        }
    }
}

fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.display().to_string(), std::fs::read(&path).unwrap())).collect()
}

both! {
    async fn no_secret_is_in_files_or_errors(place: Place) {
        let store = place.open().await;
        let acme = add(&store, "acme").await;
        let key = NewKey { key: Secret::new(API_KEY), datadog_id: None, origin: Origin::OAuth };
        let changes = [Change::Key(Some(key)), Change::Tokens(Some(tokens(ACCESS, REFRESH, Replaces::Any)))];
        store.apply(&acme, Guard::default(), &changes).await.unwrap();
        let pending =
            Pending { tenant: acme.clone(), verifier: Secret::new(VERIFIER), domain: "d".into(), site: "s".into(), session: None, answer: None };
        store.add_pending(STATE, &pending, UnixMillis(i64::MAX)).await.unwrap();
        store.add_ingest_token(&acme, &Secret::new(INGEST), "agent").await.unwrap();
        let mut texts = vec![format!("{changes:?} {pending:?} {:?} {store:?}", store.tokens(&acme).await)];

        // Everything that can go wrong with a secret at hand.
        let stale = Replaces::Generation(Default::default());
        let error = store.apply(&acme, Guard::default(), &[Change::Tokens(Some(tokens(ACCESS, REFRESH, stale)))]).await.unwrap_err();
        texts.push(format!("{error:?} {error}"));
        let error = store.add_ingest_token(&acme, &Secret::new(INGEST), "").await.unwrap_err();
        texts.push(format!("{error:?} {error}"));
        let error = store.add_pending(STATE, &pending, UnixMillis(0)).await.unwrap_err();
        texts.push(format!("{error:?} {error}"));
        place.sql("ALTER TABLE dogsled_tokens RENAME TO away").await;
        let error = store.apply(&acme, Guard::default(), &changes).await.unwrap_err();
        texts.push(format!("{error:?} {error}"));
        place.sql("ALTER TABLE away RENAME TO dogsled_tokens; UPDATE dogsled_tokens SET access = refresh").await;
        let error = store.tokens(&acme).await.unwrap_err();
        texts.push(format!("{error:?} {error}"));

        let master = std::fs::read_to_string(place.key_file()).unwrap();
        let master = base64::engine::general_purpose::STANDARD.decode(master.trim()).unwrap();
        let mut secrets: Vec<Vec<u8>> =
            [API_KEY, ACCESS, REFRESH, VERIFIER, STATE, INGEST].map(|text| text.as_bytes().to_vec()).into();
        // Those of 32 hexadecimal digits may be written as 16 bytes too.
        for text in [API_KEY, INGEST] {
            secrets.push(u128::from_str_radix(text, 16).unwrap().to_be_bytes().to_vec());
        }
        secrets.push(master);
        for text in texts {
            assert_absent(text.as_bytes(), &text, &secrets);
        }
        match &place.database {
            None => {
                let check = || {
                    let all = files(place.dir.path());
                    assert!(all.iter().any(|(name, _)| name.ends_with(".db")));
                    for (name, bytes) in all.iter().filter(|(name, _)| !name.ends_with("master.key")) {
                        assert_absent(bytes, name, &secrets);
                    }
                    all.iter().any(|(name, bytes)| name.ends_with("-wal") && !bytes.is_empty())
                };
                // While everything is in the write-ahead log, and once it is in the database.
                assert!(check());
                place.sql("PRAGMA wal_checkpoint(TRUNCATE)").await;
                assert!(!check());
            }
            Some(database) => {
                let client = crate::postgres::shared().unwrap().client(database).await;
                let tables = "SELECT tablename::text FROM pg_tables WHERE tablename LIKE 'dogsled_%'";
                let mut seen = 0;
                for table in client.query(tables, &[]).await.unwrap() {
                    let table: String = table.get(0);
                    for row in client.query(&format!("SELECT t::text FROM {table} t"), &[]).await.unwrap() {
                        assert_absent(row.get::<_, String>(0).as_bytes(), &table, &secrets);
                        seen += 1;
                    }
                }
                assert!(seen >= 7, "{seen} rows");
            }
        }
        assert_eq!(store.api_key(&acme).await.unwrap().unwrap().key.expose(), API_KEY);
    }
}
