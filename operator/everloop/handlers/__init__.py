"""The only kopf code: the engine's registrations, and what each kind observes."""
