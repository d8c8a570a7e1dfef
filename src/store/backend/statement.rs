//! What goes into a statement and comes out of it, in either database.

use crate::store::error::{Fault, StoreError};
use std::time::Duration;

/// The longest wait for a connection or for the database's answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// A parameter or a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) enum Value {
    Int(Option<i64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(Some(value))
    }
}

impl From<Option<i64>> for Value {
    fn from(value: Option<i64>) -> Self {
        Self::Int(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.to_owned()))
    }
}

impl From<Option<&str>> for Value {
    fn from(value: Option<&str>) -> Self {
        Self::Text(value.map(str::to_owned))
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Self::Bytes(Some(value))
    }
}

impl From<Option<Vec<u8>>> for Value {
    fn from(value: Option<Vec<u8>>) -> Self {
        Self::Bytes(value)
    }
}

/// A row of an answer, read from left to right.
#[derive(Debug)]
pub(in crate::store) struct Row(std::vec::IntoIter<Value>);

impl Row {
    pub(super) fn new(columns: Vec<Value>) -> Self {
        Self(columns.into_iter())
    }

    pub(super) fn unexpected<T>() -> Result<T, StoreError> {
        Err(StoreError::Damaged("a column holds a value of the wrong type".into()))
    }

    pub fn opt_int(&mut self) -> Result<Option<i64>, StoreError> {
        match self.0.next() {
            Some(Value::Int(value)) => Ok(value),
            // SQLite's NULL has no type.
            Some(Value::Text(None) | Value::Bytes(None)) => Ok(None),
            _ => Self::unexpected(),
        }
    }

    pub fn opt_text(&mut self) -> Result<Option<String>, StoreError> {
        match self.0.next() {
            Some(Value::Text(value)) => Ok(value),
            Some(Value::Int(None) | Value::Bytes(None)) => Ok(None),
            _ => Self::unexpected(),
        }
    }

    pub fn opt_bytes(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        match self.0.next() {
            Some(Value::Bytes(value)) => Ok(value),
            Some(Value::Int(None) | Value::Text(None)) => Ok(None),
            _ => Self::unexpected(),
        }
    }

    pub fn int(&mut self) -> Result<i64, StoreError> {
        self.opt_int()?.map_or_else(Self::unexpected, Ok)
    }

    pub fn text(&mut self) -> Result<String, StoreError> {
        self.opt_text()?.map_or_else(Self::unexpected, Ok)
    }

    pub fn bytes(&mut self) -> Result<Vec<u8>, StoreError> {
        self.opt_bytes()?.map_or_else(Self::unexpected, Ok)
    }
}

/// The mode of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Mode {
    /// Sees one state of the whole store.
    Read,
    /// Excludes other writers, which wait.
    Write,
}

/// Waits at most [`PATIENCE`].
pub(super) async fn patiently<T>(
    address: &str,
    what: &str,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| {
        let fault = Fault::Slow(format!("{what} took more than {} s", PATIENCE.as_secs()));
        Err(StoreError::Database { address: address.to_owned(), fault })
    })
}
