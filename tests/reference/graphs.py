"""Graph networks from their papers, on N by N matrices: PyTorch Geometric is no dependency, and what adds up along edges is compared
with what multiplies with the whole graph. Parameters have the names and shapes of PyTorch Geometric's layers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .builders import Inputs, Reference, _draw, reference


def matrix(edges: Tensor, nodes: int) -> Tensor:
    """A: row i has the edges that lead to node i."""
    return torch.zeros(nodes, nodes).index_put((edges[1], edges[0]), torch.ones(edges.shape[1]))


class GCNConv(nn.Module):
    """D^(-1/2) (A + I) D^(-1/2) H W, equation 2 of Kipf and Welling."""

    def __init__(self, d: int, out: int) -> None:
        super().__init__()
        self.lin, self.bias = nn.Linear(d, out, bias=False), nn.Parameter(torch.zeros(out))

    def forward(self, x: Tensor, a: Tensor) -> Tensor:
        a = a + torch.eye(len(a))
        d = torch.diag(a.sum(1) ** -0.5).to(x.dtype)
        return d @ a.to(x.dtype) @ d @ self.lin(x) + self.bias


class GATConv(nn.Module):
    """Equations 1 to 6 of Veličković et al.: a softmax over the neighbours, -inf everywhere else."""

    def __init__(self, d: int, out: int, heads: int = 1, concat: bool = True) -> None:
        super().__init__()
        self.heads, self.out, self.concat = heads, out, concat
        self.att_src, self.att_dst = (nn.Parameter(torch.zeros(1, heads, out)) for _ in range(2))
        self.bias = nn.Parameter(torch.zeros(heads * out if concat else out))
        self.lin = nn.Linear(d, heads * out, bias=False)

    def forward(self, x: Tensor, a: Tensor) -> Tensor:
        h = self.lin(x).view(-1, self.heads, self.out)
        source, target = (h * self.att_src).sum(-1), (h * self.att_dst).sum(-1)
        score = F.leaky_relu(target[:, None] + source[None], 0.2)  # [to, from, heads]
        linked = (a + torch.eye(len(a)) > 0)[..., None]
        weight = score.masked_fill(~linked, float("-inf")).softmax(1)
        y = torch.einsum("ijh,jhd->ihd", weight, h)
        return (y.flatten(1) if self.concat else y.mean(1)) + self.bias


class SAGEConv(nn.Module):
    """Algorithm 1 of Hamilton et al. with the mean aggregator; W [self, mean] as two matrices, as in PyTorch Geometric."""

    def __init__(self, d: int, out: int) -> None:
        super().__init__()
        self.lin_l, self.lin_r = nn.Linear(d, out), nn.Linear(d, out, bias=False)

    def forward(self, x: Tensor, a: Tensor) -> Tensor:
        a = a.to(x.dtype)
        return self.lin_l(a @ x / a.sum(1, keepdim=True).clamp(min=1)) + self.lin_r(x)


class GINConv(nn.Module):
    """Equation 4.1 of Xu et al."""

    def __init__(self, d: int, out: int) -> None:
        super().__init__()
        self.eps = nn.Parameter(torch.zeros(1))
        layers = nn.Linear(d, out), nn.BatchNorm1d(out), nn.ReLU(), nn.Linear(out, out), nn.ReLU()
        self.nn = nn.Sequential(*layers)

    def forward(self, x: Tensor, a: Tensor) -> Tensor:
        return self.nn((1 + self.eps) * x + a.to(x.dtype) @ x)


class Two(nn.Module):
    def __init__(self, conv1: nn.Module, conv2: nn.Module, act: nn.Module) -> None:
        super().__init__()
        self.conv1, self.conv2, self.act = conv1, conv2, act

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        a = matrix(edges, len(x))
        return self.conv2(self.act(self.conv1(x, a)), a)


class GIN(nn.Module):
    def __init__(self, features: int, d: int, layers: int, classes: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(GINConv(d if i else features, d) for i in range(layers))
        self.out = nn.Linear(d, classes)

    def forward(self, x: Tensor, edges: Tensor, graph: Tensor, graphs: int) -> Tensor:
        a = matrix(edges, len(x))
        for conv in self.convs:
            x = conv(x, a)
        return self.out(torch.stack([x[graph == i].sum(0) for i in range(int(graphs))]))


def graph() -> Inputs:
    """Twelve nodes, of which the last has no edge, and edges both ways, none twice and none from a node to itself."""
    draw = _draw()
    upper = torch.triu(torch.rand(12, 12, generator=draw) < 0.4, 1)
    upper[:, -1] = False
    edges = torch.nonzero(upper | upper.T).T.contiguous()
    return {"x": torch.randn(12, 10, generator=draw), "edges": edges}


def on_graph(model: nn.Module, inputs: Inputs) -> Tensor:
    found: Tensor = model(**inputs)
    return found


@reference("gcn")
def gcn() -> Reference:
    return Reference(Two(GCNConv(10, 8), GCNConv(8, 3), nn.ReLU()), graph(), on_graph)


@reference("gat")
def gat() -> Reference:
    return Reference(Two(GATConv(10, 4, 2), GATConv(8, 3, concat=False), nn.ELU()), graph(), on_graph)


@reference("graphsage")
def graphsage() -> Reference:
    return Reference(Two(SAGEConv(10, 8), SAGEConv(8, 3), nn.ReLU()), graph(), on_graph)


@reference("gin")
def gin() -> Reference:
    """Nodes in no order, and a graph without any."""
    inputs = {"graph": torch.tensor([0, 2, 1, 0, 2, 1, 0, 0, 1, 2, 0, 1]), "graphs": torch.tensor(4)}
    return Reference(GIN(10, 8, 3, 2), {**graph(), **inputs}, on_graph)
