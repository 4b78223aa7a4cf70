"""What needs an operator's attention, by kind: judged here, stored by app.store.attention."""
