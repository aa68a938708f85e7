"""Designing the objective: papers that change what is optimized so that optimizing it gives what is wanted."""
