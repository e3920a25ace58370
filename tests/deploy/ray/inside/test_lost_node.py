"""A node that dies under load."""

from cluster import Load, Nodes, deploy, running, until


def test_no_request_is_lost_and_another_node_takes_its_place(nodes: Nodes) -> None:
    deploy(num_replicas=2, max_replicas_per_node=1)
    doomed = max(nodes.cluster.worker_nodes, key=lambda node: node.node_ip_address)
    with Load(nodes.grpc, callers=8) as load:
        load.more(200)
        nodes.cluster.remove_node(doomed, allow_graceful=False)
        load.more(200)
        until(lambda: running() == 1, "the replica is missed")
        nodes.add(4, cpus=1)
        until(lambda: running() == 2, "another replica")
        load.more(200)
    assert load.failures == []
