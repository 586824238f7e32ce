"""Roles from reachability matrices and d-separation, without graph traversals of our own."""

from __future__ import annotations

import networkx as nx


def sets(graph, target):
    """Every set that FeatureRoles knows, by the definition in its docstring."""
    nodes = list(graph)
    adjacency = nx.to_numpy_array(graph, nodelist=nodes) > 0
    reach = adjacency.copy()
    for _ in nodes:
        reach = reach | (reach.astype(int) @ adjacency.astype(int) > 0)
    t = nodes.index(target)

    def named(mask):
        return {node for node, member in zip(nodes, mask, strict=True) if member}

    parents, children = named(adjacency[:, t]), named(adjacency[t])
    ancestors, descendants = named(reach[:, t]), named(reach[t])
    with_shared_child = named((adjacency.astype(int) @ adjacency[t].astype(int)) > 0)
    shares_cause = named([(reach[:, v] & reach[:, t]).any() for v in range(len(nodes))])
    separated = {v for v in nodes if v != target and nx.is_d_separator(graph, {v}, {target}, set())}
    spouses = with_shared_child - {target} - parents - children
    return {
        "parents": parents,
        "children": children,
        "ancestors": ancestors,
        "descendants": descendants,
        "spouses": spouses,
        "markov_blanket": parents | children | spouses,
        "siblings": shares_cause - ancestors - descendants - {target},
        "irrelevant": separated - spouses,
    }


def sets_with_hidden(graph, target, hidden):
    """The same sets where some nodes are hidden: d-separation on the full graph, given observed nodes."""
    observed = set(graph) - set(hidden)
    features = observed - {target}

    def leads(cause, effect):
        """Whether a path from cause to effect has no observed node inside."""
        inner = graph.subgraph({cause, effect, *hidden})
        return nx.has_path(inner, cause, effect)

    def related(node, given):
        return not nx.is_d_separator(graph, {node}, {target}, given)

    parents = {node for node in features if leads(node, target)}
    children = {node for node in features if leads(target, node)}
    ancestors = {node for node in features if nx.has_path(graph, node, target)}
    descendants = {node for node in features if nx.has_path(graph, target, node)}
    confounded = {node for node in features if any(leads(h, node) and leads(h, target) for h in hidden)}
    blanket = {node for node in features if related(node, features - {node})}
    partners = {node for node in features if any(leads(node, child) for child in children - {node})}
    spouses = (partners | (blanket - confounded)) - parents - children
    dependent = {node for node in features if related(node, set())}
    return {
        "parents": parents,
        "children": children,
        "ancestors": ancestors,
        "descendants": descendants,
        "spouses": spouses,
        "confounded": confounded,
        "markov_blanket": blanket,
        "siblings": dependent - ancestors - descendants,
        "irrelevant": features - dependent - spouses,
    }
