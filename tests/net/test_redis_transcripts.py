"""What each reader has is what was written, whatever happens to the store.

Three servers on one Redis. Writers use the first, readers the other two, and
their connections are cut at random. Streams are written over HTTP, by
`sse pub`, and by programs with a hub of their own. `make chaos` does it for
longer, and with a new seed each time.
"""

from pathlib import Path

import pytest

import chaos
from chaos import Scenario, Size, with_trouble
from store_verdict import Verdict


def assert_whole(verdicts: dict[str, Verdict]) -> None:
    assert set(verdicts) == {"http", "pub", "own"}
    for verdict in verdicts.values():
        verdict.assert_whole()


def test_without_trouble(build_dir: Path, seed: str) -> None:
    size = Size(streams=150, pub_streams=4, producers=2, producer_streams=23,
                readers=3, events=120, write_s=2)  # fmt: skip
    _, verdicts = with_trouble(None)(build_dir, seed, size)
    assert_whole(verdicts)
    counts = {kind: verdict.expected for kind, verdict in verdicts.items()}
    assert counts == {"http": 150 * 363, "pub": 4 * 363, "own": 46 * 363}


@pytest.mark.asan
def test_a_small_one(build_dir: Path, seed: str) -> None:
    size = Size(streams=10, pub_streams=1, producers=1, events=50, write_s=1)
    actions, verdicts = with_trouble(chaos.cut_all)(build_dir, seed, size)
    assert actions > 0
    assert_whole(verdicts)


@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(with_trouble(chaos.cut_all), id="cut"),
        pytest.param(with_trouble(chaos.everything), id="everything"),
        pytest.param(with_trouble(chaos.hang), id="hang"),
        pytest.param(with_trouble(chaos.fill), id="fill"),
        pytest.param(with_trouble(chaos.restart), id="restart"),
        pytest.param(with_trouble(chaos.kill_reader_node), id="kill_node"),
        pytest.param(chaos.hand_over, id="hand_over"),
    ],
)
def test_nothing_is_lost(build_dir: Path, seed: str, scenario: Scenario) -> None:
    actions, verdicts = scenario(build_dir, seed, Size())
    assert actions > 0
    assert_whole(verdicts)


@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(with_trouble(chaos.restart_older, False), id="older_data"),
        pytest.param(with_trouble(chaos.restart_empty, False), id="no_data"),
        pytest.param(chaos.lose_master, id="lose_master"),
    ],
)
def test_what_is_lost_is_told(build_dir: Path, seed: str, scenario: Scenario) -> None:
    """Producers give back what the store has lost. What many may write, nobody
    can: a reader who had it is told that the log is another one."""
    actions, verdicts = scenario(build_dir, seed, Size(pub_streams=0, write_s=9))
    assert actions > 0
    verdicts["own"].assert_whole()
    for verdict in verdicts.values():
        print(verdict)
        verdict.assert_honest()
