//! What a resource says of its telemetry: the host, and Datadog's tags for the attributes of OpenTelemetry's conventions.
//!
//! The rules and their order are those of Datadog's exporter: DataDog/datadog-agent,
//! `pkg/opentelemetry-mapping-go/otlp/attributes/{attributes,source,process,system}.go`.

use super::reason::Trouble;
use super::tags::Tags;
use super::value::{Attribute, Value, mended};
use crate::wire::part::Stop;
use crate::wire::protobuf::Message;
use std::collections::HashSet;

/// The attributes of a resource, a scope or a log record.
#[derive(Debug, Default)]
pub(super) struct Attributes<'a>(pub Vec<Attribute<'a>>);

impl<'a> Attributes<'a> {
    /// The attributes in the fields `number` of a message, but for the one named `leave_out`.
    pub fn read(message: Message<'a>, number: u32, leave_out: Option<&str>) -> Result<Self, Stop> {
        let mut list = Vec::new();
        for field in message.fields() {
            let field = field?;
            if field.number == number {
                let attribute = Attribute::read(&field)?;
                if leave_out.is_none_or(|name| attribute.key != name.as_bytes()) {
                    list.push(attribute);
                }
            }
        }
        Ok(Self(list))
    }

    /// The value of an attribute.
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        self.0.iter().find(|attribute| attribute.key == key.as_bytes()).map(|attribute| attribute.value)
    }

    /// The value of an attribute when it is a text.
    fn text(&self, key: &str) -> Option<&'a [u8]> {
        self.get(key).map(Value::as_text)
    }
}

/// The attributes of the resource of a `ResourceMetrics` or `ResourceLogs`.
pub(super) fn resource_attributes<'a>(message: Message<'a>, leave_out: Option<&str>) -> Result<Attributes<'a>, Stop> {
    match member(message, 1)? {
        Some(resource) => Attributes::read(resource, 1, leave_out),
        None => Ok(Attributes::default()),
    }
}

/// The last field of that number, which is a message.
pub(super) fn member(message: Message<'_>, number: u32) -> Result<Option<Message<'_>>, Stop> {
    let mut found = None;
    for field in message.fields() {
        let field = field?;
        if field.number == number {
            found = Some(field.message()?);
        }
    }
    Ok(found)
}

/// Texts that name no host.
const NO_HOST: [&[u8]; 6] =
    [b"0.0.0.0", b"127.0.0.1", b"localhost", b"localhost.localdomain", b"localhost6.localdomain6", b"ip6-localhost"];

/// The host that attributes name, if they do.
pub(super) fn host(attributes: &Attributes<'_>) -> Result<Option<Vec<u8>>, Trouble> {
    let host = match attributes.get("host") {
        Some(value) => {
            let mut text = Vec::new();
            value.write_text(&mut text)?;
            Some(text)
        }
        None => host_of_conventions(attributes),
    };
    Ok(host.filter(|host| !host.is_empty() && !NO_HOST.contains(&host.as_slice())))
}

fn host_of_conventions(attributes: &Attributes<'_>) -> Option<Vec<u8>> {
    let text = |key| attributes.text(key).map(|text| mended(text).into_owned());
    if let Some(host) = text("datadog.host.name") {
        return Some(host);
    }
    if attributes.text("aws.ecs.launchtype") == Some(b"fargate") || is_serverless(attributes) {
        return None;
    }
    match attributes.text("cloud.provider") {
        Some(b"aws") => return text("host.id"),
        Some(b"gcp") => {
            let name = text("host.name")?;
            let account = text("cloud.account.id")?;
            let dots = name.iter().filter(|&&byte| byte == b'.').count();
            let label = if dots >= 3 { name.split(|&byte| byte == b'.').next()? } else { &name };
            return Some([label, &account].join(&b'.'));
        }
        Some(b"azure") => return text("host.id").or_else(|| text("host.name")),
        _ => {}
    }
    if let Some(node) = text("k8s.node.name") {
        return Some(match text("k8s.cluster.name") {
            Some(cluster) => [node, cluster].join(&b'-'),
            None => node,
        });
    }
    text("host.id").or_else(|| text("host.name"))
}

/// Whether it is a service of Azure that is a source of its own and has no host.
fn is_serverless(attributes: &Attributes<'_>) -> bool {
    let is_set = |key| attributes.text(key).is_some_and(|text| !text.is_empty());
    match attributes.text("cloud.platform") {
        Some(b"azure.container_apps" | b"azure_container_apps") => true,
        Some(b"azure.app_service" | b"azure_app_service") => {
            is_set("service.name")
                && is_set("cloud.account.id")
                && is_set("azure.resource_group.name")
                && (is_set("azure.app_service.instance.id") || is_set("service.instance.id"))
        }
        _ => false,
    }
}

/// Appends Datadog's tags for the attributes of a resource.
pub(super) fn push_tags(attributes: &Attributes<'_>, tags: &mut Tags) {
    let mut pushed: HashSet<Vec<u8>> = HashSet::new();
    let mut push = |key: &[u8], value: &[u8]| {
        if !value.is_empty() && pushed.insert([key, value].join(&b':')) {
            tags.push(&mended(key), &mended(value));
        }
    };
    let mut from_conventions: HashSet<&[u8]> = HashSet::new();
    for Attribute { key, value } in &attributes.0 {
        let (key, value) = (*key, value.as_text());
        if let Some(tag) = find(CONTAINER, key) {
            push(tag.as_bytes(), value);
            if !value.is_empty() {
                from_conventions.insert(tag.as_bytes());
            }
        } else if let Some(tag) = find(SERVICE, key) {
            push(tag.as_bytes(), value);
        } else if key == b"os.type" || DATADOG.iter().any(|name| name.as_bytes() == key) {
            push(key, value);
        }
    }
    for Attribute { key, value } in &attributes.0 {
        if let Some(tag) = key.strip_prefix(b"datadog.container.tag.")
            && !tag.is_empty()
            && !value.as_text().is_empty()
            && from_conventions.insert(tag)
        {
            push(tag, value.as_text());
        }
    }
    let process = PROCESS.iter().find_map(|key| {
        let value = attributes.text(key).filter(|value| !value.is_empty())?;
        Some((key, value))
    });
    if let Some((key, value)) = process {
        push(key.as_bytes(), value);
    }
}

fn find(table: &[(&str, &'static str)], key: &[u8]) -> Option<&'static str> {
    table.iter().find(|(attribute, _)| attribute.as_bytes() == key).map(|(_, tag)| *tag)
}

/// `coreMapping` and `kubernetesMapping`
const SERVICE: &[(&str, &str)] = &[
    ("service.name", "service"),
    ("service.version", "version"),
    ("service.instance.id", "service.instance.id"),
    ("deployment.environment", "env"),
    ("deployment.environment.name", "env"),
    ("tags.datadoghq.com/env", "env"),
    ("tags.datadoghq.com/service", "service"),
    ("tags.datadoghq.com/version", "version"),
    ("app.kubernetes.io/name", "kube_app_name"),
    ("app.kubernetes.io/instance", "kube_app_instance"),
    ("app.kubernetes.io/version", "kube_app_version"),
    // Datadog's exporter misspells this one; both are taken.
    ("app.kubernetes.io/component", "kube_app_component"),
    ("app.kuberenetes.io/component", "kube_app_component"),
    ("app.kubernetes.io/part-of", "kube_app_part_of"),
    ("app.kubernetes.io/managed-by", "kube_app_managed_by"),
];

/// `ContainerMappings`, which tags of the prefix `datadog.container.tag.` do not replace.
const CONTAINER: &[(&str, &str)] = &[
    ("container.id", "container_id"),
    ("container.name", "container_name"),
    ("container.image.name", "image_name"),
    ("container.image.tag", "image_tag"),
    ("container.runtime", "runtime"),
    ("cloud.provider", "cloud_provider"),
    ("cloud.region", "region"),
    ("cloud.availability_zone", "zone"),
    ("aws.ecs.task.family", "task_family"),
    ("aws.ecs.task.arn", "task_arn"),
    ("aws.ecs.task.revision", "task_version"),
    ("aws.ecs.cluster.arn", "ecs_cluster_name"),
    ("aws.ecs.container.arn", "ecs_container_name"),
    ("k8s.container.name", "kube_container_name"),
    ("k8s.cluster.name", "kube_cluster_name"),
    ("k8s.deployment.name", "kube_deployment"),
    ("k8s.replicaset.name", "kube_replica_set"),
    ("k8s.statefulset.name", "kube_stateful_set"),
    ("k8s.daemonset.name", "kube_daemon_set"),
    ("k8s.job.name", "kube_job"),
    ("k8s.cronjob.name", "kube_cronjob"),
    ("k8s.namespace.name", "kube_namespace"),
    ("k8s.pod.name", "pod_name"),
];

/// The first of these that is present is a tag under its own name.
const PROCESS: [&str; 4] =
    ["process.executable.name", "process.executable.path", "process.command", "process.command_line"];

/// `KubernetesDDTags`: attributes that bear the name of a tag already.
const DATADOG: &[&str] = &[
    "architecture",
    "availability-zone",
    "chronos_job",
    "chronos_job_owner",
    "cluster_name",
    "container_id",
    "container_name",
    "dd_remote_config_id",
    "dd_remote_config_rev",
    "display_container_name",
    "docker_image",
    "ecs_cluster_name",
    "ecs_container_name",
    "eks_fargate_node",
    "env",
    "git.commit.sha",
    "git.repository_url",
    "image_id",
    "image_name",
    "image_tag",
    "kube_app_component",
    "kube_app_instance",
    "kube_app_managed_by",
    "kube_app_name",
    "kube_app_part_of",
    "kube_app_version",
    "kube_container_name",
    "kube_cronjob",
    "kube_daemon_set",
    "kube_deployment",
    "kube_job",
    "kube_namespace",
    "kube_ownerref_kind",
    "kube_ownerref_name",
    "kube_priority_class",
    "kube_qos",
    "kube_replica_set",
    "kube_replication_controller",
    "kube_service",
    "kube_stateful_set",
    "language",
    "marathon_app",
    "mesos_task",
    "nomad_dc",
    "nomad_group",
    "nomad_job",
    "nomad_namespace",
    "nomad_task",
    "oshift_deployment",
    "oshift_deployment_config",
    "os_name",
    "os_version",
    "persistentvolumeclaim",
    "pod_name",
    "pod_phase",
    "rancher_container",
    "rancher_service",
    "rancher_stack",
    "region",
    "service",
    "short_image",
    "swarm_namespace",
    "swarm_service",
    "task_name",
    "task_family",
    "task_version",
    "task_arn",
    "version",
];
