//! Secrets that are read again from their files.

use super::check::check;
use super::key::Table;
use super::problems::{Problems, join};
use super::{Problem, Settings, secrets};
use config::ValueKind;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

impl Settings {
    /// This configuration with the secrets that some of their files hold now. A secret whose file is no good stays as it is, and
    /// so does everything if the secrets do not go together.
    pub fn read_again(&self, is_wanted: impl Fn(&Path) -> bool) -> (Self, Vec<Problem>) {
        let mut problems = Problems::default();
        let mut settings = self.clone();
        let wanted = self.secret_files.iter().filter(|(_, file)| is_wanted(file));
        let files: BTreeMap<_, _> = wanted.map(|(key, file)| (key.clone(), file.clone())).collect();
        read("oauth", &mut settings.oauth, &files, &mut problems);
        for (id, tenant) in &mut settings.tenants {
            read(&join("tenants", id.as_str()), tenant, &files, &mut problems);
        }
        let unreadable = problems.problems();
        let mut problems = Problems::default();
        check(&settings, &mut problems);
        match problems.finish() {
            Ok(_) => (settings, unreadable),
            Err(error) => (self.clone(), [unreadable, error.problems().to_vec()].concat()),
        }
    }
}

fn read<T: Table>(path: &str, table: &mut T, files: &BTreeMap<String, PathBuf>, problems: &mut Problems) {
    for key in T::KEYS.iter().filter(|key| !key.restart) {
        let (Some(file), Some(named)) = (files.get(&join(path, key.name)), key.file) else { continue };
        let read = secrets::read(file).and_then(|(text, _)| (key.read)(table, &ValueKind::String(text)));
        if let Err(why) = read {
            problems.error(&join(path, named), format!("{file:?} {why}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn one_bad_file_keeps_its_secret_and_others_change() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            path
        };
        let [a, b] = ["a", "b"].map(|tenant| write(tenant, "0123456789abcdef0123456789abcdef"));
        let running =
            Settings::from_toml(&format!("tenants.a.api_key_file = {a:?}\ntenants.b.api_key_file = {b:?}")).unwrap();
        write("a", "two words");
        write("b", "fedcba9876543210fedcba9876543210");
        let (settings, problems) = running.read_again(|_| true);
        let changed: Vec<_> = running.plan(&settings).unwrap().changed.into_iter().map(|one| one.key).collect();
        assert_eq!(changed, ["tenants.b.api_key"]);
        let told: Vec<_> = problems.iter().map(Problem::to_string).collect();
        assert!(told.len() == 1 && told[0].starts_with("tenants.a.api_key_file: "), "{told:?}");
        let (settings, _) = running.read_again(|file| file == a);
        assert!(running.plan(&settings).unwrap().changed.is_empty());
    }
}
