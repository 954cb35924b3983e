use crate::context::Cx;
use crate::ids::{ConnectionId, InstanceId};
use crate::instance::{Activity, Instance, State};
use crate::service::Service;

/// Open connections: bytes keep an instance awake and wake it.
impl Service {
    pub(crate) fn connection_is(
        &mut self,
        cx: &mut Cx<'_>,
        id: InstanceId,
        connection: ConnectionId,
        activity: Activity,
    ) {
        self.change_connections(cx, id, |instance| instance.set_connection(connection, activity));
    }

    pub(crate) fn connection_closed(&mut self, cx: &mut Cx<'_>, id: InstanceId, connection: ConnectionId) {
        self.change_connections(cx, id, |instance| instance.close_connection(connection));
    }

    fn change_connections(&mut self, cx: &mut Cx<'_>, id: InstanceId, change: impl FnOnce(&mut Instance)) {
        match self.fleet.find(id) {
            None => return cx.ignore(),
            Some(instance) if instance.state == State::Stopping => return cx.ignore(),
            Some(_) => {}
        }
        self.fleet.update(id, change);
        self.settle(cx, id);
        self.dispatch(cx);
    }
}
