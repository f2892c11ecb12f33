"""What a network is asked to tell: one ``TaskSpec`` per head."""

from dataclasses import dataclass
from typing import Final, Literal

TaskKind = Literal["segmentation"]
"""Kinds of task that are built; a segmentation gives one class to every pixel."""

TaskLoss = Literal["cross_entropy_dice"]
"""Losses that are built, see ``losses``."""

TaskMetric = Literal["dice", "volume_f1"]
"""Metrics that are built, see ``metrics``."""


@dataclass(frozen=True)
class TaskSpec:
    """One task of a multi-task network.

    Attributes:
        name: Name of the task and of its head, without a dot.
        classes: Number of classes including the background, which is class 0.
        kind: What a label of the task looks like.
        loss: Loss the task is trained with.
        metric: Metric the task is judged by.
        fed_by: Earlier tasks whose decoder features this task's head reads at every level.
        is_restricted_to_candidates: Whether only candidate voxels (those at or above the
            calcium threshold) may be foreground; the loss then looks at them alone.
        stop_level: Resolution at which the head ends: 0 is the full one, 1 the half, and
            so on. Coarser outputs are upsampled bilinearly.
        foreground_weight: Weight of foreground voxels in the cross-entropy. Above 1 a head
            whose foreground is small does not settle on background alone at first, where
            Dice has almost no gradient.
        sees_input: Whether the last stage of the head also reads the raw input channels.
    """

    name: str
    classes: int
    kind: TaskKind = "segmentation"
    loss: TaskLoss = "cross_entropy_dice"
    metric: TaskMetric = "dice"
    fed_by: tuple[str, ...] = ()
    is_restricted_to_candidates: bool = False
    stop_level: int = 0
    foreground_weight: float = 1.0
    sees_input: bool = False

    def __post_init__(self) -> None:
        """Refuse a task that no head can be built for."""
        if not self.name or "." in self.name:
            raise ValueError(f"a task needs a name without a dot, got {self.name!r}")
        if self.classes < 2:
            raise ValueError(f"task {self.name} needs at least 2 classes, got {self.classes}")
        if self.stop_level < 0:
            raise ValueError(f"stop_level must not be negative, got {self.stop_level}")


REGION: Final = TaskSpec(name="region", classes=5, foreground_weight=5.0)
"""Artery regions (weak labels): background, LM, LAD, LCX, RCA."""

LESION: Final = TaskSpec(
    name="lesion",
    classes=2,
    metric="volume_f1",
    fed_by=("region",),
    is_restricted_to_candidates=True,
    sees_input=True,
)
"""Coronary calcium (strong labels): a yes or no for every candidate voxel."""


def check_tasks(tasks: tuple[TaskSpec, ...]) -> None:
    """Check that names are unique and that heads are fed by earlier heads only.

    Raises:
        ValueError: If the heads cannot be run in the given order.
    """
    known: set[str] = set()
    for task in tasks:
        if task.name in known:
            raise ValueError(f"two tasks are named {task.name!r}")
        if missing := set(task.fed_by) - known:
            raise ValueError(
                f"task {task.name} is fed by {sorted(missing)}, which do not come before it"
            )
        known.add(task.name)
    if not known:
        raise ValueError("a network needs at least one task")
