use crate::ids::NodeId;
use crate::limits::gate::Gate;
use crate::limits::node::Class;
use crate::limits::pressure::BrownOut;

/// What a node has and uses, for people and dashboards. Bytes are those the limits count, not measured ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeView {
    /// The node.
    pub node: NodeId,
    /// Memory for instances; `None` is no limit.
    pub memory_bytes: Option<u64>,
    /// Of instances that are awake as the least of their service.
    pub reserved_bytes: u64,
    /// Of other instances that are awake.
    pub burst_bytes: u64,
    /// Of instances that sleep in RAM.
    pub cache_bytes: u64,
    /// Of that, on its way to disk.
    pub leaving_bytes: u64,
    /// Of all, of instances that are being started.
    pub starting_bytes: u64,
    /// Instances that are awake or on their way.
    pub instances: u32,
    /// What it does without, for want of memory.
    pub brown_out: BrownOut,
}

impl Gate {
    pub(crate) fn view(&self, id: NodeId) -> Option<NodeView> {
        let node = self.nodes.find(id).filter(|node| node.up)?;
        let leaving_bytes = node.used_for(Class::Leaving);
        Some(NodeView {
            node: id,
            memory_bytes: node.config.memory_bytes,
            reserved_bytes: node.used_for(Class::Reserved),
            burst_bytes: node.used_for(Class::Burst),
            cache_bytes: node.used_for(Class::Cache) + leaving_bytes,
            leaving_bytes,
            starting_bytes: node.starting(),
            instances: node.instances,
            brown_out: node.pressure.step(),
        })
    }

    pub(crate) fn is_up(&self, id: NodeId) -> bool {
        self.nodes.find(id).is_some_and(|node| node.up)
    }
}
