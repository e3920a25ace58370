"""Replicas come with requests and go without them."""

from cluster import Load, Nodes, deploy, running, until


def test_from_one_replica_to_three_and_back(nodes: Nodes) -> None:
    deploy(
        autoscaling_config={
            "min_replicas": 1,
            "max_replicas": 3,
            "target_ongoing_requests": 2,
            "upscale_delay_s": 0.5,
            "downscale_delay_s": 0.5,
            "look_back_period_s": 0.5,
            "metrics_interval_s": 0.1,
        }
    )
    assert running() == 1
    with Load(nodes.grpc, callers=1) as calm:
        with Load(nodes.grpc, callers=12) as busy:
            until(lambda: running() == 3, "three replicas")
            busy.more(100)
        # The one caller goes on: what a replica that goes has in flight, it answers.
        until(lambda: running() == 1, "one replica")
        calm.more(20)
    assert busy.failures == []
    assert calm.failures == []
