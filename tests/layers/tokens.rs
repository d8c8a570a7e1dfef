//! Rust source as tokens with their lines: what a path needs, without comments, strings and characters.

#[derive(Debug, Clone, PartialEq)]
pub enum Token {
    /// A word; a raw identifier without its `r#`.
    Word(String),
    /// `::`
    Separator,
    /// Any other character that stands for itself.
    Sign(char),
}

pub type Line = usize;

pub fn tokens(text: &str) -> Vec<(Token, Line)> {
    let mut reader = Reader { rest: text, line: 1 };
    let mut tokens = Vec::new();
    while let Some(first) = reader.rest.chars().next() {
        let line = reader.line;
        match first {
            _ if first.is_whitespace() => reader.take(first.len_utf8()),
            '/' if reader.rest.starts_with("//") => reader.take(reader.rest.find('\n').unwrap_or(reader.rest.len())),
            '/' if reader.rest.starts_with("/*") => reader.block_comment(),
            '"' => reader.string(),
            '\'' => reader.character_or_lifetime(),
            _ if first.is_alphabetic() || first == '_' => {
                if let Some(word) = reader.word() {
                    tokens.push((Token::Word(word.to_owned()), line));
                }
                continue;
            }
            // The letters of `0xff` and `1u8` are no words.
            _ if first.is_ascii_digit() => reader.take(word_length(reader.rest)),
            ':' if reader.rest.starts_with("::") => {
                tokens.push((Token::Separator, line));
                reader.take(2)
            }
            _ => {
                tokens.push((Token::Sign(first), line));
                reader.take(first.len_utf8())
            }
        }
    }
    tokens
}

struct Reader<'a> {
    rest: &'a str,
    line: Line,
}

fn word_length(text: &str) -> usize {
    text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) {
        let (taken, rest) = self.rest.split_at(length);
        self.line += taken.matches('\n').count();
        self.rest = rest;
    }

    /// Nothing where the letters were the prefix of a literal.
    fn word(&mut self) -> Option<&'a str> {
        let word = &self.rest[..word_length(self.rest)];
        let after = &self.rest[word.len()..];
        let is_raw = matches!(word, "r" | "br" | "cr");
        let quoted = after.trim_start_matches('#').starts_with('"');
        if is_raw && quoted {
            self.take(word.len());
            self.raw_string();
            return None;
        }
        if word == "r" && after.starts_with('#') {
            self.take(2);
            return self.word();
        }
        self.take(word.len());
        let is_prefix = matches!(word, "b" | "c") && (after.starts_with('"') || after.starts_with('\''));
        (!is_prefix).then_some(word)
    }

    fn raw_string(&mut self) {
        let hashes = self.rest.len() - self.rest.trim_start_matches('#').len();
        let end = format!("\"{}", "#".repeat(hashes));
        self.take(hashes + 1);
        self.take(self.rest.find(&end).map_or(self.rest.len(), |at| at + end.len()));
    }

    fn string(&mut self) {
        self.quoted('"');
    }

    fn character_or_lifetime(&mut self) {
        let mut after = self.rest[1..].chars();
        let (first, second) = (after.next(), after.next());
        if first == Some('\\') || second == Some('\'') {
            self.quoted('\'');
        } else {
            self.take(1 + word_length(&self.rest[1..]));
        }
    }

    fn quoted(&mut self, quote: char) {
        let mut escaped = false;
        let end = self.rest.char_indices().skip(1).find(|&(_, c)| {
            let is_end = c == quote && !escaped;
            escaped = c == '\\' && !escaped;
            is_end
        });
        self.take(end.map_or(self.rest.len(), |(at, _)| at + 1));
    }

    fn block_comment(&mut self) {
        let mut depth = 0;
        let (mut at, bytes) = (0, self.rest.as_bytes());
        while at < bytes.len() {
            match &bytes[at..] {
                [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
                [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
                _ => at += 1,
            }
            if depth == 0 {
                break;
            }
        }
        self.take(at);
    }
}

#[test]
fn comments_and_literals_are_no_words() {
    let text = r##"a /* b /* c */ d */ "e \" f" r#"g " h"# 'i' '\'' 'j b"k" b'l' r#m 0xff // n
        o::p"##;
    let words = |text| {
        let words = tokens(text).into_iter().map(|(token, line)| match token {
            Token::Word(word) => format!("{word}{line}"),
            Token::Separator => "::".to_owned(),
            Token::Sign(sign) => sign.to_string(),
        });
        words.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(words(text), "a1 m1 o2 :: p2");
    assert_eq!(words("\"\n\" a /*\n*/ b"), "a2 b3");
}
