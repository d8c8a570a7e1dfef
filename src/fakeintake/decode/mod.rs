//! Splits request bodies into items and checks them as Datadog's intake does.
//! The checks follow the documentation and others' observations. It is not known where Datadog drops one series
//! silently and where it refuses the payload; the stand-in refuses the payload, for which a sender must be prepared.

mod checks;
mod events;
mod items;
mod logs;
mod metrics;
mod protobuf;

pub(super) use items::{Items, Refused, Texts};

use super::endpoint::Form;

/// The items of `body`, their texts too if `record`. `now` is in seconds since the epoch.
pub(super) fn items(form: Form, body: &[u8], now: i64, record: bool) -> Result<Items, Refused> {
    let mut items = Items::new(record);
    match form {
        Form::Series2Proto => protobuf::series(body, now, &mut items)?,
        Form::Sketches => protobuf::sketches(body, now, &mut items)?,
        _ => {
            let text = simdutf8::basic::from_utf8(body).map_err(|_| Refused::Bad("Payload is not UTF-8".into()))?;
            match form {
                Form::LogsText => logs::text(text, &mut items)?,
                // Connectivity checks of Agents and others.
                _ if matches!(text.trim(), "" | "{}") => {}
                Form::LogsJson => logs::json(text, &mut items)?,
                Form::Series1 => metrics::series1(text, now, &mut items)?,
                Form::Distributions => metrics::distributions(text, now, &mut items)?,
                Form::Event1 => events::event1(text, now, &mut items)?,
                Form::Event2 => events::event2(text, &mut items)?,
                Form::AgentIntake => events::agent_intake(text, &mut items)?,
                Form::CheckRun => checks::check_run(text, &mut items)?,
                _ => metrics::series2(text, now, &mut items)?,
            }
        }
    }
    Ok(items)
}
