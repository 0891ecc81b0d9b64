"""What tests ask of configs."""


def flat(value: object, prefix: str = '') -> dict[str, object]:
    """The values of nested dictionaries by their dotted names."""
    if isinstance(value, dict):
        return {k: v for key in value for k, v in flat(value[key], f'{prefix}.{key}').items()}
    return {prefix[1:]: value}
