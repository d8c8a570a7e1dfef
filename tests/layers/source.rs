//! What one file of the crate says of others: its modules, its `use` declarations and the paths in its code.

use super::tokens::{Line, Token, tokens};
use std::collections::{BTreeMap, BTreeSet};

/// A file, or a module within one.
#[derive(Debug, Default)]
pub struct Module {
    /// Modules declared here, without those for tests; and what they hold if it is in this file.
    pub children: BTreeMap<String, Option<Module>>,
    /// Modules declared here for tests only.
    pub test_children: BTreeSet<String>,
    /// The names that `use` brings in, with their paths; those imported by `*` are under their number.
    pub aliases: BTreeMap<String, Vec<String>>,
    pub globs: Vec<Vec<String>>,
    /// The names of items declared here.
    pub items: BTreeSet<String>,
    /// All paths in code that runs outside tests. A re-export is none: what it hands on, it does not use.
    pub paths: Vec<(Vec<String>, Line)>,
}

/// Reads a file. What stands under `#[cfg(test)]` is left out: tests may look down on the whole house.
pub fn read(text: &str) -> Module {
    let tokens = tokens(text);
    let mut parser = Parser { tokens: &tokens, at: 0 };
    let mut module = Module::default();
    parser.body(&mut module, true);
    module
}

struct Parser<'a> {
    tokens: &'a [(Token, Line)],
    at: usize,
}

/// Items with a name, after which nothing else than their own body belongs to them.
const NAMED: [&str; 9] = ["fn", "struct", "enum", "union", "trait", "type", "const", "static", "macro_rules"];

impl Parser<'_> {
    fn peek(&self, ahead: usize) -> Option<&Token> {
        self.tokens.get(self.at + ahead).map(|(token, _)| token)
    }

    fn is_sign(&self, ahead: usize, sign: char) -> bool {
        self.peek(ahead) == Some(&Token::Sign(sign))
    }

    fn word(&self, ahead: usize) -> Option<&str> {
        match self.peek(ahead)? {
            Token::Word(word) => Some(word),
            _ => None,
        }
    }

    fn line(&self) -> Line {
        self.tokens.get(self.at).map_or(0, |(_, line)| *line)
    }

    /// Reads until the closing brace, which it takes. `outer` is the body of a module, and not of something in it.
    fn body(&mut self, module: &mut Module, outer: bool) {
        let mut is_public = false;
        while let Some(token) = self.peek(0) {
            match token {
                Token::Sign('}') => {
                    self.at += 1;
                    return;
                }
                Token::Sign('{') => {
                    self.at += 1;
                    self.body(module, false);
                }
                Token::Sign('#') => {
                    if self.attribute() {
                        self.test_item(module);
                    }
                    continue;
                }
                Token::Word(word) if word == "pub" => {
                    is_public = true;
                    self.at += 1;
                    // `pub(in crate::journal)` imports nothing.
                    if self.is_sign(0, '(') && matches!(self.word(1), Some("crate" | "super" | "self" | "in")) {
                        self.group();
                    }
                    continue;
                }
                Token::Word(word) if word == "use" => self.declaration(module, outer, is_public),
                Token::Word(word) if word == "mod" && self.word(1).is_some() => self.child(module),
                Token::Word(word) if outer && NAMED.contains(&word.as_str()) => {
                    let name = if word == "macro_rules" { self.word(2) } else { self.word(1) };
                    module.items.extend(name.filter(|name| !NAMED.contains(name)).map(str::to_owned));
                    self.at += 1;
                }
                Token::Word(_) => self.path(module),
                _ => self.at += 1,
            }
            is_public = false;
        }
    }

    fn path(&mut self, module: &mut Module) {
        let (line, mut path) = (self.line(), Vec::new());
        let is_absolute = self.at > 0 && self.tokens[self.at - 1].0 == Token::Separator;
        while let Some(word) = self.word(0) {
            path.push(word.to_owned());
            self.at += 1;
            if self.peek(0) != Some(&Token::Separator) || self.word(1).is_none() {
                break;
            }
            self.at += 1;
        }
        if !is_absolute && path.len() > 1 {
            module.paths.push((path, line));
        }
    }

    fn child(&mut self, module: &mut Module) {
        let name = self.word(1).unwrap().to_owned();
        self.at += 2;
        let body = self.is_sign(0, '{').then(|| {
            self.at += 1;
            let mut child = Module::default();
            self.body(&mut child, true);
            child
        });
        module.children.insert(name, body);
    }

    /// `use` and its tree, at which the parser stands.
    fn declaration(&mut self, module: &mut Module, outer: bool, is_public: bool) {
        let line = self.line();
        self.at += 1;
        let mut leaves = Vec::new();
        self.tree(&mut Vec::new(), &mut leaves);
        for (path, alias) in leaves {
            let is_glob = path.last().is_some_and(|last| last == "*");
            if outer && is_glob {
                module.globs.push(path[..path.len() - 1].to_vec());
            } else if outer {
                module.aliases.insert(alias, path.clone());
            }
            if !is_public {
                module.paths.push((path, line));
            }
        }
    }

    fn tree(&mut self, prefix: &mut Vec<String>, leaves: &mut Vec<(Vec<String>, String)>) {
        let length = prefix.len();
        loop {
            match self.peek(0) {
                Some(Token::Separator) => self.at += 1,
                Some(Token::Sign('*')) => {
                    self.at += 1;
                    prefix.push("*".into());
                    break leaves.push((prefix.clone(), String::new()));
                }
                Some(Token::Sign('{')) => {
                    self.at += 1;
                    while !self.is_sign(0, '}') && self.peek(0).is_some() {
                        self.tree(prefix, leaves);
                        self.at += usize::from(self.is_sign(0, ','));
                    }
                    self.at += 1;
                    break;
                }
                Some(Token::Word(word)) => {
                    // `a::{self}` is `a`.
                    if word != "self" || length == 0 {
                        prefix.push(word.clone());
                    }
                    self.at += 1;
                    if self.peek(0) == Some(&Token::Separator) {
                        continue;
                    }
                    let mut alias = prefix.last().cloned().unwrap_or_default();
                    if self.word(0) == Some("as") {
                        alias = self.word(1).unwrap_or_default().to_owned();
                        self.at += 2;
                    }
                    break leaves.push((prefix.clone(), alias));
                }
                _ => break self.at += 1,
            }
        }
        prefix.truncate(length);
    }

    /// Passes an attribute; whether it is one for tests.
    fn attribute(&mut self) -> bool {
        self.at += 1;
        self.at += usize::from(self.is_sign(0, '!'));
        let from = self.at;
        self.group();
        let words: Vec<_> =
            self.tokens[from..self.at].iter().filter(|(token, _)| matches!(token, Token::Word(_))).collect();
        let word = |index: usize| match words.get(index) {
            Some((Token::Word(word), _)) => word.as_str(),
            _ => "",
        };
        word(0) == "cfg"
            && (word(1) == "test" || word(1) == "all" && (2..words.len()).any(|index| word(index) == "test"))
    }

    /// Passes brackets of any kind, with all that is in them.
    fn group(&mut self) {
        let mut depth = 0_i32;
        while let Some(token) = self.peek(0) {
            match token {
                Token::Sign('(' | '[' | '{') => depth += 1,
                Token::Sign(')' | ']' | '}') => depth -= 1,
                _ => (),
            }
            self.at += 1;
            if depth == 0 {
                return;
            }
        }
    }

    /// Passes the item, field, statement or match arm that an attribute for tests stands before.
    fn test_item(&mut self, module: &mut Module) {
        while self.is_sign(0, '#') {
            self.attribute();
        }
        if self.word(0) == Some("pub") {
            self.at += 1;
            if self.is_sign(0, '(') {
                self.group();
            }
        }
        if self.word(0) == Some("mod") {
            module.test_children.extend(self.word(1).map(str::to_owned));
        }
        let is_function = (0..4).any(|ahead| self.word(ahead) == Some("fn"));
        let (ends_with_braces, ends_with_comma) = match self.word(0) {
            _ if is_function => (true, false),
            Some("struct" | "enum" | "union" | "trait" | "impl" | "mod" | "macro_rules") => (true, false),
            Some("use" | "const" | "static" | "type" | "let") => (false, false),
            Some("if" | "match" | "for" | "while" | "loop") => (true, false),
            _ => (self.is_sign(0, '{'), true),
        };
        loop {
            match self.peek(0) {
                None | Some(Token::Sign('}' | ')' | ']')) => return,
                Some(Token::Sign('{')) if ends_with_braces => return self.group(),
                Some(Token::Sign('(' | '[' | '{')) => self.group(),
                Some(Token::Sign(';')) => return self.at += 1,
                Some(Token::Sign(',')) if ends_with_comma => return self.at += 1,
                Some(_) => self.at += 1,
            }
        }
    }
}
