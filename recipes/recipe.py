"""The smallest chain: StepA hands over to StepB, which has two stages."""

from stagerun import LiveOperation, Progress


class StepA(LiveOperation):
    """Log a line, then hand over to StepB."""

    def run(self, p: Progress) -> None:
        p.log("Step A done")
        step_b = StepB.objects.create(owner=self.owner)
        p.chain_to(step_b)


class StepB(LiveOperation):
    """Greet and count, in two stages."""

    stages = ["Greet", "Count"]

    def run(self, p: Progress) -> None:
        with p.stage("Greet"):
            p.log(f"hello, {self.owner}")
        with p.stage("Count"):
            total = sum(p.track(range(1000), unit="number"))
        p.result({"total": total})
