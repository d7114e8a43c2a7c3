"""Operations on tensors and sizes, appended to a body, with refusals in the words of the line."""
