"""The pool's authority: lets machines in by tokens, signs their certificates, knows who is there."""
