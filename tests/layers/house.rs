//! All modules of the crate, what their paths lead to, and where that breaks the order.

use super::source::{Module, read};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

/// The modules of the crate that run outside tests.
pub struct House {
    /// The top modules, ground floor first.
    order: Vec<String>,
    /// By path; the root's is empty.
    modules: BTreeMap<Vec<String>, Room>,
}

struct Room {
    /// The module whose file it is in.
    file: Vec<String>,
    path: PathBuf,
    module: Module,
}

/// Files that import each other.
pub struct Circle {
    pub module: String,
    /// The imports that make it, one a line.
    pub text: String,
}

/// How many aliases a path may go through.
const ALIASES: usize = 16;

impl House {
    /// Reads the files of `src/`.
    pub fn read(files: &[(PathBuf, String)]) -> Result<Self, String> {
        let files: BTreeMap<&Path, &str> = files.iter().map(|(path, text)| (path.as_path(), text.as_str())).collect();
        let root = files.get(Path::new("src/lib.rs")).ok_or("there is no src/lib.rs")?;
        let mut house = Self { order: order(root)?, modules: BTreeMap::new() };
        house.enter(Vec::new(), Vec::new(), Path::new("src/lib.rs"), read(root), &files)?;
        let declared: BTreeSet<_> = house.modules[&[][..]].module.children.keys().cloned().collect();
        let listed: BTreeSet<_> = house.order.iter().cloned().collect();
        if declared != listed || listed.len() != house.order.len() {
            let differing: Vec<_> = declared.symmetric_difference(&listed).collect();
            return Err(format!(
                "src/lib.rs lists modules that it does not declare, or the reverse, or one twice: {differing:?}"
            ));
        }
        Ok(house)
    }

    fn enter(
        &mut self,
        path: Vec<String>,
        file: Vec<String>,
        at: &Path,
        mut module: Module,
        files: &BTreeMap<&Path, &str>,
    ) -> Result<(), String> {
        for (name, body) in &mut module.children {
            let child: Vec<_> = path.iter().chain([name]).cloned().collect();
            match body.take() {
                Some(inline) => self.enter(child, file.clone(), at, inline, files)?,
                None => {
                    let base = Path::new("src").join(child.iter().collect::<PathBuf>());
                    let candidates = [base.with_extension("rs"), base.join("mod.rs")];
                    let found = candidates.iter().find_map(|path| Some((path, files.get(path.as_path())?)));
                    let (at, text) = found.ok_or_else(|| format!("{}: no file for `mod {name}`", at.display()))?;
                    self.enter(child.clone(), child, at, read(text), files)?;
                }
            }
        }
        self.modules.insert(path, Room { file, path: at.to_owned(), module });
        Ok(())
    }

    /// What a path names as seen from a module, from the root of the crate; nothing if it is of another crate.
    fn absolute(&self, from: &[String], path: &[String], aliases: usize) -> Option<Vec<String>> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => Some([from, rest].concat()),
            "super" => {
                let mut above = from;
                let mut rest = path;
                while let [word, after @ ..] = rest
                    && word == "super"
                {
                    (above, rest) = (above.split_last()?.1, after);
                }
                Some([above, rest].concat())
            }
            name => {
                let module = &self.modules.get(from)?.module;
                if module.children.contains_key(name) {
                    return Some([from, path].concat());
                }
                let alias = module.aliases.get(name).filter(|alias| alias.first() != Some(first))?;
                let target = self.absolute(from, alias, aliases.checked_sub(1)?)?;
                Some([&target, rest].concat())
            }
        }
    }

    /// The module that declares what an absolute path names, through re-exports.
    fn owner(&self, path: &[String], aliases: usize) -> Option<&[String]> {
        let mut at = 0;
        while at < path.len() && self.modules.contains_key(&path[..=at]) {
            at += 1;
        }
        let (here, room) = self.modules.get_key_value(&path[..at])?;
        let Some(name) = path.get(at).filter(|name| *name != "*") else { return Some(here) };
        if room.module.items.contains(name) {
            return Some(here);
        }
        let aliases = aliases.checked_sub(1)?;
        if let Some(alias) = room.module.aliases.get(name) {
            // What comes from another crate is this module's own.
            let Some(target) = self.absolute(here, alias, aliases) else { return Some(here) };
            return self.owner(&[&target, &path[at + 1..]].concat(), aliases);
        }
        let globs = room.module.globs.iter().filter_map(|glob| self.absolute(here, glob, aliases));
        for target in globs {
            let target = [&target, &path[at..]].concat();
            if let Some(owner) = self.owner(&target, aliases)
                && self.modules[owner].module.items.contains(name)
            {
                return Some(owner);
            }
        }
        // A module for tests, or a name that a macro makes.
        let for_tests = room.module.test_children.contains(name);
        (!for_tests).then_some(here)
    }

    /// Every path of the crate that leads to another of its files: the file's module, that file's, and how to say it.
    fn imports(&self) -> impl Iterator<Item = (&[String], &[String], String, Vec<String>)> {
        self.modules.iter().flat_map(move |(from, room)| {
            room.module.paths.iter().filter_map(move |(path, line)| {
                let named = self.absolute(from, path, ALIASES)?;
                let owner = self.owner(&named, ALIASES)?;
                let text = format!("{}:{line}: {}", room.path.display(), path.join("::"));
                Some((room.file.as_slice(), self.modules[owner].file.as_slice(), text, named))
            })
        })
    }

    /// The top modules that a top module imports from, and where.
    pub fn imports_of(&self, top: &str) -> impl Iterator<Item = (String, String)> {
        let of_top = self.imports().filter(move |(from, ..)| from.first().is_some_and(|first| first == top));
        of_top.filter_map(move |(_, _, text, named)| Some((named.first().filter(|to| *to != top)?.clone(), text)))
    }

    pub fn climbing_imports(&self) -> Vec<String> {
        let mut climbing = Vec::new();
        for (level, module) in self.order.iter().enumerate() {
            for (to, text) in self.imports_of(module) {
                if self.order[level..].contains(&to) {
                    climbing.push(format!("{text}: {module} comes before {to}"));
                }
            }
        }
        climbing
    }

    /// The circles of imports between files of one top module, a shortest one for each knot of files.
    pub fn circles(&self) -> Vec<Circle> {
        let mut edges: BTreeMap<&[String], BTreeMap<&[String], String>> = BTreeMap::new();
        for (from, to, text, _) in self.imports() {
            if from != to && !from.is_empty() && from.first() == to.first() {
                edges.entry(from).or_default().entry(to).or_insert(text);
            }
        }
        let mut told = BTreeSet::new();
        let mut circles = Vec::new();
        for &start in edges.keys() {
            let Some(circle) =
                shortest_circle(&edges, start).filter(|circle| circle.iter().all(|file| !told.contains(file)))
            else {
                continue;
            };
            let steps = circle.iter().zip(circle.iter().cycle().skip(1));
            let lines: Vec<_> = steps.map(|(from, to)| format!("  {}", edges[from][to])).collect();
            circles.push(Circle { module: start[0].clone(), text: format!("{}\n{}", start[0], lines.join("\n")) });
            told.extend(circle);
        }
        circles
    }
}

fn shortest_circle<'a>(
    edges: &BTreeMap<&'a [String], BTreeMap<&'a [String], String>>,
    start: &'a [String],
) -> Option<Vec<&'a [String]>> {
    let mut queue = VecDeque::from([vec![start]]);
    let mut seen = BTreeSet::new();
    while let Some(way) = queue.pop_front() {
        for &next in edges.get(way.last()?).into_iter().flat_map(BTreeMap::keys) {
            if next == start {
                return Some(way);
            }
            if seen.insert(next) {
                queue.push_back([way.as_slice(), &[next]].concat());
            }
        }
    }
    None
}

/// The list in the crate's documentation.
fn order(text: &str) -> Result<Vec<String>, String> {
    let (_, list) =
        text.split_once("Ground floor first").ok_or("src/lib.rs lists no modules after \"Ground floor first\"")?;
    let paragraph = list.lines().take_while(|line| line.trim() != "//!" && !line.is_empty());
    let names = paragraph.flat_map(|line| line.split("[`").skip(1).filter_map(|rest| rest.split("`]").next()));
    Ok(names.map(str::to_owned).collect())
}
