"""What only the chapter's experiments use: tasks, many runs at once, protocols, rivals, instances."""

from .protocols import Network, Outcome, Start, Variant, compare, warm_starts
from .stacked import train_together, warm_together
from .tasks import TASKS, DomainTask, digits_task

__all__ = ["TASKS", "DomainTask", "Network", "Outcome", "Start", "Variant", "compare", "digits_task", "train_together", "warm_starts", "warm_together"]
