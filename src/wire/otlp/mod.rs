//! OTLP: metrics and logs of OpenTelemetry, turned into Datadog's series, sketches and logs.
//!
//! A request is read in three steps, none of which builds a tree of it. [`protobuf`] turns JSON into protobuf, so that there is
//! one encoding behind it. [`survey`] tells whose the resources are, so that each tenant's [`Deltas`] can be locked.
//! [`metrics`] and [`logs`] map it, resource by resource: one at fault costs its neighbours nothing.
//!
//! What becomes what, and by whose rules, is told in `docs/otlp.md`.

mod delta;
mod histogram;
mod json;
mod logs;
mod metric;
mod metrics;
mod names;
mod options;
mod output;
mod point;
mod reason;
mod resource;
mod response;
mod schema;
mod scope;
mod tags;
#[cfg(test)]
mod tests;
mod value;

pub use delta::{Deltas, HashKey};
pub use options::{Clock, Context, Histograms, MAX_OBSERVATIONS, Options, Signal};
pub use reason::{Fault, Reason, Rejections};
pub use response::{Encoding, retry_details, status, success};

use crate::wire::part::{Part, Stop};
use crate::wire::protobuf::Message;
use metric::Metric;
use metrics::Mapper;
use output::Output;
use reason::Trouble;
use resource::resource_attributes;

/// Whose the resources of a request are.
#[derive(Debug, Default)]
pub struct Survey {
    /// The owners, each once.
    pub owners: Vec<Owner>,
    /// Of each resource, in order, which of the owners it is of.
    resources: Vec<usize>,
}

/// What a request holds of one tenant.
#[derive(Debug, PartialEq, Eq)]
pub struct Owner {
    /// The tenant that the resource names; none when no attribute was looked for, or there was none.
    pub tenant: Option<String>,
    /// Data points or log records.
    pub items: u64,
    /// Whether what is remembered of the tenant's series matters.
    pub is_cumulative: bool,
}

/// What a request becomes.
#[derive(Debug, Default)]
pub struct Mapped {
    /// Its items; the tenant of each is that of its [`Owner`].
    pub parts: Vec<Part>,
    /// What is refused.
    pub rejections: Rejections,
    /// How many data points or log records of each owner are not refused.
    pub taken: Vec<u64>,
}

/// The protobuf of a JSON request, of at most `limit` bytes.
///
/// # Errors
/// When it is not JSON, or not of the form of its signal.
pub fn protobuf(signal: Signal, json: &[u8], limit: usize) -> Result<Vec<u8>, Fault> {
    let schema = match signal {
        Signal::Metrics => &schema::METRICS_REQUEST,
        Signal::Logs => &schema::LOGS_REQUEST,
    };
    Ok(json::to_protobuf(schema, json, limit)?)
}

/// Finds out whose the resources of a request are, by their attribute of that name.
///
/// # Errors
/// When the request is not protobuf of the signal's form, as far as it is read.
pub fn survey(signal: Signal, request: &[u8], attribute: Option<&str>) -> Result<Survey, Fault> {
    let mut survey = Survey::default();
    for field in Message::whole(request).fields() {
        let field = field?;
        if field.number != 1 {
            continue;
        }
        let message = field.message()?;
        let tenant = attribute.map(|name| owner(message, name)).transpose()?.flatten();
        let (items, is_cumulative) = count(signal, message).map_err(whole)?;
        let known = survey.owners.iter().position(|owner| owner.tenant == tenant);
        let index = known.unwrap_or_else(|| {
            survey.owners.push(Owner { tenant, items: 0, is_cumulative: false });
            survey.owners.len() - 1
        });
        survey.owners[index].items += items;
        survey.owners[index].is_cumulative |= is_cumulative;
        survey.resources.push(index);
    }
    Ok(survey)
}

/// Maps a metrics request. Of each owner of the survey, `slots` has the index in `deltas` of what is remembered of its tenant's
/// series.
///
/// # Errors
/// When the request is not protobuf of the right form, or becomes too large. What the deltas were changed to must be rolled
/// back then.
pub fn metrics(
    request: &[u8],
    survey: &Survey,
    context: &Context<'_>,
    slots: &[usize],
    deltas: &mut [&mut Deltas],
) -> Result<Mapped, Fault> {
    let mut mapped = Mapped::of(survey);
    let mut outputs = outputs(survey, context.limit);
    let mut mapper = Mapper::new(context, &mut mapped.rejections);
    for (message, owner) in resources(request, survey) {
        let deltas = slots.get(owner).and_then(|&slot| deltas.get_mut(slot));
        if let (Some(deltas), Some(output)) = (deltas, outputs.get_mut(owner)) {
            let refused = mapper.resource(message?, output, deltas).map_err(whole)?;
            mapped.taken[owner] -= refused;
        }
    }
    mapped.parts = outputs.into_iter().flat_map(Output::finish).collect();
    Ok(mapped)
}

/// Maps a logs request.
///
/// # Errors
/// When the request is not protobuf of the right form, or becomes too large.
pub fn logs(request: &[u8], survey: &Survey, context: &Context<'_>) -> Result<Mapped, Fault> {
    let mut mapped = Mapped::of(survey);
    let mut outputs = outputs(survey, context.limit);
    let mut mapper = logs::Mapper::new(context, &mut mapped.rejections);
    for (message, owner) in resources(request, survey) {
        if let Some(output) = outputs.get_mut(owner) {
            let refused = mapper.resource(message?, output).map_err(whole)?;
            mapped.taken[owner] -= refused;
        }
    }
    mapped.parts = outputs.into_iter().flat_map(Output::finish).collect();
    Ok(mapped)
}

impl Mapped {
    /// Before anything is refused.
    fn of(survey: &Survey) -> Self {
        let taken = survey.owners.iter().map(|owner| owner.items).collect();
        Self { parts: Vec::new(), rejections: Rejections::default(), taken }
    }
}

fn outputs(survey: &Survey, limit: usize) -> Vec<Output> {
    survey.owners.iter().map(|owner| Output::new(owner.tenant.clone(), limit)).collect()
}

/// The resources of a request with the index of their owner.
fn resources<'a>(
    request: &'a [u8],
    survey: &'a Survey,
) -> impl Iterator<Item = (Result<Message<'a>, Stop>, usize)> + 'a {
    let fields = Message::whole(request).fields().filter(|field| field.as_ref().is_ok_and(|field| field.number == 1));
    fields.map(|field| field?.message()).zip(survey.resources.iter().copied())
}

/// The tenant that a resource names.
fn owner(message: Message<'_>, attribute: &str) -> Result<Option<String>, Fault> {
    let Some(value) = resource_attributes(message, None)?.get(attribute) else { return Ok(None) };
    let mut text = Vec::new();
    match value.write_text(&mut text) {
        // Nothing that is nested so deep is the name of a tenant.
        Ok(()) | Err(Trouble::Item(_)) => Ok(Some(String::from_utf8_lossy(&text).into_owned())),
        Err(Trouble::Request(fault)) => Err(*fault),
    }
}

/// How many items a resource has, and whether any is cumulative.
fn count(signal: Signal, message: Message<'_>) -> Result<(u64, bool), Trouble> {
    let (mut items, mut is_cumulative) = (0, false);
    for scope in message.fields() {
        let scope = scope?;
        if scope.number != 2 {
            continue;
        }
        for field in scope.message()?.fields() {
            let field = field?;
            match signal {
                Signal::Metrics if field.number == 2 => {
                    let metric = Metric::read(field.message()?)?;
                    items += metric.points()?;
                    is_cumulative |= metric.is_cumulative();
                }
                Signal::Logs if field.number == 2 => items += 1,
                _ => {}
            }
        }
    }
    Ok((items, is_cumulative))
}

/// What stops a request, where a fault of one item cannot be.
fn whole(trouble: Trouble) -> Fault {
    match trouble {
        Trouble::Request(fault) => *fault,
        Trouble::Item(reason) => Fault::Malformed(reason.to_string()),
    }
}
