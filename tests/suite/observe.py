"""GET /metrics and GET /health."""

import re

from prometheus_client.parser import text_string_to_metric_families

from suite.api import JSON, Api, fresh_id, path_of
from suite.waiting import wait_until

NAME = re.compile(r"sse_[a-z0-9_]+")

Series = tuple[str, tuple[tuple[str, str], ...]]


def scrape(api: Api) -> dict[Series, float]:
    """Every sample, by its name and labels."""
    response = api.ask("GET", "/metrics")
    assert response.status == 200
    assert (response.get("content-type") or "").startswith("text/plain; version=0.0.4")
    text = response.body.decode()
    assert text.endswith("\n")
    samples: dict[Series, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            series = (sample.name, tuple(sorted(sample.labels.items())))
            assert series not in samples, f"{series} stands twice"
            samples[series] = sample.value
    return samples


def total(samples: dict[Series, float], word: str) -> float:
    """The sum of the counters whose name holds the word; a store has its own."""
    return sum(
        value
        for (name, _), value in samples.items()
        if word in name and name.endswith("_total") and "_store_" not in name
    )


class TestMetrics:
    def test_each_has_help_and_type(self, api: Api) -> None:
        text = api.ask("GET", "/metrics").body.decode()
        families = list(text_string_to_metric_families(text))
        assert len(families) >= 10
        for family in families:
            assert NAME.fullmatch(family.name), family.name
            assert family.type in ("counter", "gauge", "histogram", "summary")
            assert " " in family.documentation, family.name
            assert family.samples, family.name
        names = [family.name for family in families]
        assert len(names) == len(set(names))

    def test_the_labels_do_not_grow_with_use(self, api: Api) -> None:
        self.use(api)
        before = scrape(api).keys()
        for _ in range(20):
            self.use(api)
        assert scrape(api).keys() == before

    def use(self, api: Api) -> None:
        """One of everything that could be tempted into a label."""
        user = fresh_id()
        stream = api.new_stream(userId=user, streamType=fresh_id())
        api.append(stream, "x", fresh_id())
        api.ask("GET", path_of(stream), [("Last-Event-ID", fresh_id())])
        api.ask("GET", "/" + fresh_id())
        api.ask("PUT", path_of(stream))
        api.ask("GET", path_of(fresh_id()))
        api.post_event(stream, [JSON], b"{")
        api.complete(stream)
        api.events(stream, cursor="99-9f3a1c2b")
        api.streams_of(user)
        api.delete(stream)

    def test_events_are_counted(self, api: Api) -> None:
        stream = api.new_stream()
        before = total(scrape(api), "events")
        api.append_many(stream, ["x"] * 50)
        api.complete(stream)
        assert total(scrape(api), "events") >= before + 51

    def test_bytes_are_counted(self, api: Api) -> None:
        stream = api.new_stream()
        before = total(scrape(api), "bytes")
        api.append(stream, "x" * 50_000)
        assert total(scrape(api), "bytes") >= before + 50_000

    def test_gaps_are_counted(self, forgetful: Api) -> None:
        stream = forgetful.new_stream()
        before = scrape(forgetful)
        forgetful.append_many(stream, ["x"] * 100)
        forgetful.complete(stream)
        gap = forgetful.events(stream)[0]
        assert gap.type == "gap"
        after = scrape(forgetful)
        assert total(after, "gap") == total(before, "gap") + 1
        assert total(after, "missed") == total(before, "missed") + 91

    def test_refused_requests_are_counted(self, api: Api) -> None:
        before = total(scrape(api), "refused")
        for _ in range(5):
            assert api.ask("GET", path_of("no-such-stream")).status == 404
        assert total(scrape(api), "refused") >= before + 5

    def test_readers_are_counted_as_long_as_they_read(self, own_api: Api) -> None:
        stream = own_api.new_stream()
        readers = [own_api.subscribe(stream) for _ in range(7)]
        for reader in readers:
            reader.retry()
        assert self.gauge(own_api, "subscribers") == 7
        own_api.complete(stream)
        for reader in readers:
            reader.rest()
            reader.connection.close()
        # A server may count behind the last byte.
        wait_until(lambda: self.gauge(own_api, "subscribers") == 0)

    def gauge(self, api: Api, word: str) -> float:
        samples = scrape(api)
        values = [
            value
            for (name, _), value in samples.items()
            if word in name and not name.endswith("_total")
        ]
        assert values, samples.keys()
        return sum(values)


class TestHealth:
    def test_ok(self, api: Api) -> None:
        response = api.ask("GET", "/health")
        assert response.status == 200
        assert response.get("content-type") == "application/json"
        assert response.json() == {"status": "ok"}
