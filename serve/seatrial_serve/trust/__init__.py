"""Who made a bundle: signatures, and the policy that says whose count."""
