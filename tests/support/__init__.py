"""What tests share: toy models, servers, stand-ins, and judges that are not ours."""
