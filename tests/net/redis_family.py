"""A master and a replica, with a switch or a Sentinel before them."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import redis

from fault_proxy import FaultProxy
from redis_server import RedisServer
from suite.ports import free_port
from suite.waiting import wait_until


class Family:
    """Use it in a `with`."""

    def __init__(self) -> None:
        at_once = ("--repl-diskless-sync-delay", "0")
        self.master = RedisServer(*at_once)
        self.replica = RedisServer(
            *at_once, "--replicaof", "127.0.0.1", str(self.master.port)
        )
        wait_until(self.in_step, "the replica does not follow")

    def __enter__(self) -> "Family":
        return self

    def __exit__(self, *_: object) -> None:
        self.master.close()
        self.replica.close()

    def in_step(self) -> bool:
        with self.replica.client() as client:
            return client.info("replication")["master_link_status"] == "up"

    def hand_over(self) -> None:
        """In order: writes wait until the replica has everything."""
        with self.master.client() as client:
            client.execute_command(
                "FAILOVER", "TO", "127.0.0.1", str(self.replica.port)
            )
        self.master, self.replica = self.replica, self.master
        wait_until(self.is_promoted, "there is no new master")

    def lose_master(self) -> None:
        """SIGKILL. Somebody must promote the replica."""
        self.master.kill()
        self.master, self.replica = self.replica, self.master
        wait_until(self.is_promoted, "there is no new master")

    def is_promoted(self) -> bool:
        return role_of(self.master) == "master"

    def follows(self) -> bool:
        return role_of(self.replica) == "slave" and self.in_step()


def role_of(server: RedisServer) -> str:
    """Or "": a Sentinel that changes it cuts every connection."""
    try:
        with server.client() as client:
            return str(client.role()[0])
    except redis.ConnectionError:
        return ""


class Switch(FaultProxy):
    """One address for whoever is the master."""

    def turn(self, server: RedisServer) -> None:
        self.target_port = server.port
        self.reset()


class Sentinel:
    """Use it in a `with`. It calls the master "main"."""

    def __init__(self, family: Family, down_ms: int = 500) -> None:
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="sentinel-"))
        config = self.directory / "sentinel.conf"
        config.write_text(
            f"port {self.port}\nbind 127.0.0.1\n"
            f"sentinel monitor main 127.0.0.1 {family.master.port} 1\n"
            f"sentinel down-after-milliseconds main {down_ms}\n"
            "sentinel failover-timeout main 5000\n"
        )
        self.process = subprocess.Popen(
            ["redis-server", str(config), "--sentinel"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            cwd=self.directory,
        )

    def __enter__(self) -> "Sentinel":
        wait_until(self.knows_the_replica, "the Sentinel does not see the replica")
        return self

    def knows_the_replica(self) -> bool:
        """And has asked it, so that it could promote it."""
        try:
            with redis.Redis("127.0.0.1", self.port, decode_responses=True) as client:
                replicas = client.execute_command("SENTINEL", "REPLICAS", "main")
        except redis.RedisError:
            return False
        return [r.get("master-link-status") for r in replicas] == ["ok"]

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.port}/main"
