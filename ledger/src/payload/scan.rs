//! The JSON grammar of RFC 8259, and the two rules that hold in every object: no name twice, not
//! too deep.
//!
//! Here: a cursor over the text that steps from value to value and keeps nothing of what it has
//! passed but the names of the objects that are open. Not here: what the members mean (see
//! `event`).

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::{PayloadError, Reason};
use crate::limits::PAYLOAD_DEPTH;

/// So many names of an object are compared one by one: up to there it is faster than a set.
const FEW: usize = 16;

/// A cursor over the text of a payload.
pub(super) struct Scanner<'a> {
    pub(super) text: &'a str,
    pub(super) at: usize,
    /// The first [`FEW`] names of every object that is open, outermost first.
    names: Vec<Cow<'a, str>>,
}

impl<'a> Scanner<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self { text, at: 0, names: Vec::new() }
    }

    /// The next byte; `None` at the end of the text.
    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// What has not been read yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    /// The text from `start` up to the cursor.
    pub(super) fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// Steps over `byte` if it comes next.
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn skip_blank(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    #[cold]
    pub(super) fn unexpected(&self, expected: &'static str) -> PayloadError {
        let reason =
            if self.peek().is_none() { Reason::CutOff } else { Reason::NotJson { expected } };
        PayloadError::new(reason, self.at)
    }

    /// Steps into an object or array that is the `depth`th level.
    pub(super) fn enter(&mut self, depth: usize) -> Result<(), PayloadError> {
        if depth > PAYLOAD_DEPTH {
            return Err(PayloadError::new(Reason::TooDeep { max: PAYLOAD_DEPTH }, self.at));
        }
        self.at += 1;
        Ok(())
    }

    /// Steps to the next member of an object: gives its name and where that stands, `None` at the
    /// end of the object.
    pub(super) fn name(
        &mut self,
        first: bool,
    ) -> Result<Option<(usize, Cow<'a, str>)>, PayloadError> {
        self.skip_blank();
        if self.eat(b'}') {
            return Ok(None);
        }
        if !first {
            if !self.eat(b',') {
                return Err(self.unexpected("`,` or `}`"));
            }
            self.skip_blank();
        }
        if self.peek() != Some(b'"') {
            return Err(self.unexpected("a member name in double quotes"));
        }
        let at = self.at;
        Ok(Some((at, self.string()?)))
    }

    /// Steps from a name to its value.
    pub(super) fn colon(&mut self) -> Result<(), PayloadError> {
        self.skip_blank();
        if !self.eat(b':') {
            return Err(self.unexpected("`:`"));
        }
        self.skip_blank();
        Ok(())
    }

    /// Steps over `word` if it comes next.
    pub(super) fn word(&mut self, word: &str) -> bool {
        let found = self.rest().starts_with(word.as_bytes());
        if found {
            self.at += word.len();
        }
        found
    }

    /// Steps over any value. If it is an object or array, it is the `depth`th level.
    pub(super) fn skip_value(&mut self, depth: usize) -> Result<(), PayloadError> {
        let found = match self.peek() {
            Some(b'"') => return self.skip_string(),
            Some(b'{') => return self.skip_object(depth),
            Some(b'[') => return self.skip_array(depth),
            Some(b'-' | b'0'..=b'9') => return self.number().map(drop),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            _ => false,
        };
        if found { Ok(()) } else { Err(self.unexpected("a value")) }
    }

    /// Steps over an object, the recursion bounded by [`Scanner::enter`].
    pub(super) fn skip_object(&mut self, depth: usize) -> Result<(), PayloadError> {
        self.enter(depth)?;
        let open = self.names.len();
        let mut more = BTreeSet::new();
        let mut first = true;
        while let Some((at, name)) = self.name(first)? {
            first = false;
            let few = self.names.get(open..).unwrap_or_default();
            let is_new = if few.contains(&name) {
                false
            } else if few.len() < FEW {
                self.names.push(name);
                true
            } else {
                more.insert(name)
            };
            if !is_new {
                return Err(self.inside(at, PayloadError::new(Reason::DuplicateMember, at)));
            }
            self.colon()?;
            if let Err(error) = self.skip_value(depth + 1) {
                return Err(self.inside(at, error));
            }
        }
        self.names.truncate(open);
        Ok(())
    }

    fn skip_array(&mut self, depth: usize) -> Result<(), PayloadError> {
        self.enter(depth)?;
        self.skip_blank();
        if self.eat(b']') {
            return Ok(());
        }
        for index in 0_usize.. {
            if let Err(error) = self.skip_value(depth + 1) {
                return Err(error.under(&index.to_string()));
            }
            self.skip_blank();
            if self.eat(b']') {
                break;
            }
            if !self.eat(b',') {
                return Err(self.unexpected("`,` or `]`"));
            }
            self.skip_blank();
        }
        Ok(())
    }

    /// The error, seen from outside the member whose name stands at `at`.
    ///
    /// Reads the name again, so that a payload without an error need not keep it.
    #[cold]
    fn inside(&self, at: usize, error: PayloadError) -> PayloadError {
        let mut again = Self { text: self.text, at, names: Vec::new() };
        error.under(&again.string().unwrap_or_default())
    }
}
