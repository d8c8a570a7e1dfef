//! Metric series and distribution points in JSON: an object whose `series` is an array of series.
//! A series' name, type and points are checked, because one series that Datadog refuses can cost a whole batch.
//! Everything else passes as it is. Members of the body other than `series` are not forwarded, since a batch is made of
//! many bodies.

use super::edits::Edits;
use super::gather::{Found, Gatherer};
use super::json::{Number, Scanner, Text};
use super::part::{Context, Split, Stop, invalid, malformed};
use super::set_aside::set_aside;
use super::tags::{self, Search};
use super::{dates, metric};
use crate::types::{Kind, UnixMillis};
use bytes::Bytes;

/// Splits a body with `series`.
pub(super) fn split(kind: Kind, body: &Bytes, context: &Context<'_>) -> Result<Split, Stop> {
    let mut scanner = Scanner::trusting(body);
    let mut gatherer = Gatherer::new(kind, body, context.now);
    let mut edits = Edits::default();
    let mut seen = false;
    scanner.white();
    let start = scanner.at();
    scanner.object(|scanner, key| {
        if key.meaning().as_ref() != b"series" {
            return scanner.skip();
        }
        if std::mem::replace(&mut seen, true) {
            return Err(malformed(key.at, "`series` is given twice"));
        }
        if scanner.peek() == Some(b'n') {
            return scanner.skip();
        }
        scanner.array(|scanner| {
            let start = scanner.at();
            edits.clear();
            let mut series = Series::new(kind, gatherer.next_item(), context.tenant_tag);
            if let Err(stop) = series.read(scanner, &mut edits) {
                return set_aside(scanner, start, stop, context.tenant_tag, &mut gatherer);
            }
            let found = Found { tenant: series.search.tenant, time: series.oldest };
            gatherer.take(start..scanner.at(), &mut edits, &found);
            Ok(())
        })
    })?;
    scanner.end()?;
    if !seen {
        return Err(malformed(start, "the object has no `series`"));
    }
    Ok(gatherer.finish())
}

/// The earliest time of a series' points.
pub(super) fn item_time(kind: Kind, item: &[u8]) -> Option<UnixMillis> {
    let mut series = Series::new(kind, 0, None);
    series.read(&mut Scanner::trusting(item), &mut Edits::default()).ok()?;
    series.oldest
}

/// A series, as far as it is read.
struct Series<'t, 'a> {
    kind: Kind,
    item: usize,
    search: Search<'t, 'a>,
    has_name: bool,
    points: usize,
    oldest: Option<UnixMillis>,
}

impl<'t, 'a> Series<'t, 'a> {
    fn new(kind: Kind, item: usize, tenant_tag: Option<&'t str>) -> Self {
        let search = Search::new(tenant_tag, item);
        Self { kind, item, search, has_name: false, points: 0, oldest: None }
    }

    /// Reads and checks the series at the cursor.
    fn read(&mut self, scanner: &mut Scanner<'a>, edits: &mut Edits) -> Result<(), Stop> {
        if scanner.peek() != Some(b'{') {
            scanner.skip()?;
            return Err(self.invalid("a series must be a JSON object"));
        }
        scanner.object(|scanner, key| {
            let name = key.meaning();
            match name.as_ref() {
                b"metric" => self.read_name(scanner),
                b"points" => self.read_points(scanner),
                b"type" if self.kind == Kind::SeriesV2Json => self.read_type(scanner),
                b"tags" if self.search.is_on() => tags::pass(scanner, &mut self.search, edits).map(drop),
                _ => scanner.skip(),
            }
        })?;
        if !self.has_name {
            return Err(self.invalid("the series has no `metric`"));
        }
        if self.points == 0 {
            return Err(self.invalid("the series has no points"));
        }
        Ok(())
    }

    fn read_name(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Stop> {
        let Some(name) = scanner.text()? else { return Err(self.invalid("`metric` must be a string")) };
        self.has_name = true;
        metric::name_fault(&name.meaning()).map_or(Ok(()), |reason| Err(self.invalid(reason)))
    }

    /// The type of v2: a number. (That of v1 is a word, and what others than the known ones mean is not published.)
    fn read_type(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Stop> {
        if scanner.peek() == Some(b'n') {
            return scanner.skip();
        }
        match scanner.number()?.and_then(Number::integer) {
            Some(0..=3) => Ok(()),
            _ => Err(self.invalid("`type` must be 0 (unspecified), 1 (count), 2 (rate) or 3 (gauge)")),
        }
    }

    fn read_points(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Stop> {
        if scanner.peek() != Some(b'[') {
            scanner.skip()?;
            return Err(self.invalid("`points` must be an array"));
        }
        scanner.array(|scanner| {
            match self.kind {
                Kind::SeriesV2Json => self.read_point_object(scanner)?,
                _ => self.read_point_array(scanner)?,
            }
            self.points += 1;
            Ok(())
        })
    }

    /// `{"timestamp":seconds,"value":number}`
    fn read_point_object(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Stop> {
        if scanner.peek() != Some(b'{') {
            scanner.skip()?;
            return Err(self.point("must be an object with `timestamp` and `value`"));
        }
        let (mut has_time, mut has_value) = (false, false);
        scanner.object(|scanner, key: Text<'a>| match key.meaning().as_ref() {
            b"timestamp" => {
                has_time = true;
                self.read_time(scanner)
            }
            b"value" => {
                has_value = true;
                self.read_value(scanner)
            }
            _ => scanner.skip(),
        })?;
        match (has_time, has_value) {
            (true, true) => Ok(()),
            (false, _) => Err(self.point("has no `timestamp`")),
            (_, false) => Err(self.point("has no `value`")),
        }
    }

    /// `[seconds,number]`, of distributions `[seconds,[number,…]]`
    fn read_point_array(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Stop> {
        let shape = match self.kind {
            Kind::Distributions => "must be an array of a timestamp and an array of values",
            _ => "must be an array of a timestamp and a value",
        };
        if scanner.peek() != Some(b'[') {
            scanner.skip()?;
            return Err(self.point(shape));
        }
        let mut place = 0;
        scanner.array(|scanner| {
            place += 1;
            match (place, self.kind) {
                (1, _) => self.read_time(scanner),
                (2, Kind::Distributions) if scanner.peek() == Some(b'[') => {
                    scanner.array(|scanner| self.read_value(scanner))
                }
                (2, Kind::Distributions) => {
                    scanner.skip()?;
                    Err(self.point(shape))
                }
                (2, _) => self.read_value(scanner),
                _ => Err(self.point(shape)),
            }
        })?;
        if place == 2 { Ok(()) } else { Err(self.point(shape)) }
    }

    fn read_time(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Stop> {
        let Some(seconds) = scanner.number()? else {
            return Err(self.point("has a timestamp that is not a number of seconds"));
        };
        let time = dates::from_seconds(seconds);
        self.oldest = Some(self.oldest.map_or(time, |oldest| oldest.min(time)));
        Ok(())
    }

    fn read_value(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Stop> {
        // Some encoders write NaN, which is not JSON; name the item all the same.
        let rest = scanner.rest();
        if [&b"NaN"[..], b"Infinity", b"-Infinity"].iter().any(|word| rest.starts_with(word)) {
            return Err(self.point("has a value that is not finite"));
        }
        match scanner.number()? {
            Some(value) if value.is_finite() => Ok(()),
            Some(_) => Err(self.point("has a value that is not finite")),
            None => Err(self.point("has a value that is not a number")),
        }
    }

    fn invalid(&self, reason: &str) -> Stop {
        invalid(self.item, reason)
    }

    /// The refusal of the point that is being read.
    fn point(&self, reason: &str) -> Stop {
        invalid(self.item, format!("point {} {reason}", self.points))
    }
}
