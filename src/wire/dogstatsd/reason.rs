//! Why something of DogStatsD's was not taken.

/// Why a line, a value of it, or a part of a packet was not taken: the label `reason` of
/// `dogsled_dogstatsd_errors_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
#[repr(u8)]
pub enum Reason {
    /// There is no `|` in the line.
    #[error("the line has no `|`")]
    NoPipe,
    /// There is no `:` before the first `|`.
    #[error("there is no `:` between name and value")]
    NoColon,
    /// Nothing stands before the `:`.
    #[error("the name is empty")]
    EmptyName,
    /// Nothing stands behind the `:`.
    #[error("the value is empty")]
    EmptyValue,
    /// The type is not one of `c g h ms d s`.
    #[error("the type is not one of c, g, h, ms, d, s")]
    BadType,
    /// A list of values holds none.
    #[error("the list of values is empty")]
    NoValues,
    /// A value is not a number.
    #[error("a value is not a number")]
    BadValue,
    /// The sample rate is not a number.
    #[error("the sample rate is not a number")]
    BadRate,
    /// The timestamp is not a whole number of seconds, at least 1.
    #[error("the timestamp is not a whole number of seconds, at least 1")]
    BadTimestamp,
    /// The event does not begin with `_e{<length>,<length>}:`.
    #[error("the event does not begin with _e{{<title length>,<text length>}}:")]
    EventHeader,
    /// The event's title has no bytes.
    #[error("the event's title is empty")]
    EventTitleEmpty,
    /// The event is shorter than its lengths say.
    #[error("the event is shorter than its header says")]
    EventTooShort,
    /// The service check has no status.
    #[error("the service check lacks name or status")]
    CheckFields,
    /// The service check's name is empty.
    #[error("the service check's name is empty")]
    CheckNameEmpty,
    /// The service check's status is not 0, 1, 2 or 3.
    #[error("the service check's status is not 0, 1, 2 or 3")]
    CheckStatus,
    /// Datadog takes no metric of that name.
    #[error("Datadog takes no metric of that name: it needs a letter, and at most 350 bytes")]
    BadName,
    /// A value is infinite or not a number: the value is dropped, others of its line are taken.
    #[error("a value is not finite")]
    NonFinite,
    /// A histogram, timer or set carries a timestamp.
    #[error("histograms, timers and sets cannot carry a timestamp")]
    TimestampUnsupportedType,
    /// The kernel cut the datagram: its last line is not trusted.
    #[error("the datagram is longer than the receive buffer: its last line is cut")]
    Truncated,
    /// A packet on a stream socket is longer than the receive buffer: the connection ends.
    #[error("the packet is longer than the receive buffer")]
    FrameTooLong,
    /// Neither a tag, nor the listener, nor `tenancy.default` names a tenant.
    #[error("no tenant: name one by a tag, give the listener one, or set tenancy.default")]
    NoTenant,
    /// The tenant is not registered.
    #[error("the tenant is unknown")]
    UnknownTenant,
    /// Two tags name different tenants.
    #[error("two tags name different tenants")]
    TenantConflict,
    /// The tag names another tenant than the one whose listener it came by.
    #[error("the tag names another tenant than the listener's")]
    ForeignTenant,
    /// The tenant, or all of them, has as many contexts as allowed.
    #[error("a new context beyond the limit")]
    ContextLimit,
    /// The tenant has as many samples in the open bucket as allowed.
    #[error("a sample beyond the limit of the bucket")]
    SampleLimit,
    /// The tenant has as many events and service checks waiting as allowed.
    #[error("an event or service check beyond the limit")]
    EventLimit,
}

impl Reason {
    /// Every reason, in the order of their discriminants.
    pub const ALL: [Self; 27] = [
        Self::NoPipe,
        Self::NoColon,
        Self::EmptyName,
        Self::EmptyValue,
        Self::BadType,
        Self::NoValues,
        Self::BadValue,
        Self::BadRate,
        Self::BadTimestamp,
        Self::EventHeader,
        Self::EventTitleEmpty,
        Self::EventTooShort,
        Self::CheckFields,
        Self::CheckNameEmpty,
        Self::CheckStatus,
        Self::BadName,
        Self::NonFinite,
        Self::TimestampUnsupportedType,
        Self::Truncated,
        Self::FrameTooLong,
        Self::NoTenant,
        Self::UnknownTenant,
        Self::TenantConflict,
        Self::ForeignTenant,
        Self::ContextLimit,
        Self::SampleLimit,
        Self::EventLimit,
    ];

    /// The name used in metrics and listings.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoPipe => "no_pipe",
            Self::NoColon => "no_colon",
            Self::EmptyName => "empty_name",
            Self::EmptyValue => "empty_value",
            Self::BadType => "bad_type",
            Self::NoValues => "no_values",
            Self::BadValue => "bad_value",
            Self::BadRate => "bad_rate",
            Self::BadTimestamp => "bad_timestamp",
            Self::EventHeader => "event_header",
            Self::EventTitleEmpty => "event_title_empty",
            Self::EventTooShort => "event_too_short",
            Self::CheckFields => "check_fields",
            Self::CheckNameEmpty => "check_name_empty",
            Self::CheckStatus => "check_status",
            Self::BadName => "bad_name",
            Self::NonFinite => "non_finite",
            Self::TimestampUnsupportedType => "timestamp_unsupported_type",
            Self::Truncated => "truncated",
            Self::FrameTooLong => "frame_too_long",
            Self::NoTenant => "no_tenant",
            Self::UnknownTenant => "unknown_tenant",
            Self::TenantConflict => "tenant_conflict",
            Self::ForeignTenant => "foreign_tenant",
            Self::ContextLimit => "context_limit",
            Self::SampleLimit => "sample_limit",
            Self::EventLimit => "event_limit",
        }
    }
}
