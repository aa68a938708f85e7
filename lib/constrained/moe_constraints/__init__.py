from lib.constrained.moe_constraints.layers import ConstraintMoE, ConstraintOutput, HardConstraintLayer
from lib.constrained.moe_constraints.models import PIHC, PIHCMoE, SoftConstraint
from lib.constrained.moe_constraints.navier_stokes import NavierStokes
from lib.constrained.moe_constraints.network import FNO2d, FNO3d
from lib.constrained.moe_constraints.pde import PDE, DiffusionSorption
from lib.constrained.moe_constraints.solver import implicit_solution, levenberg_marquardt
