// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// completionTime is how long the shell waits for names from the cluster.
const completionTime = 3 * time.Second

// completeNames returns the completion of the first most arguments with names of objects of a kind
// in the namespace of the command. 0: all arguments.
func (o *Options) completeNames(object client.Object, most int) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if most > 0 && len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return o.namesStarting(c.Context(), object, typed, args), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeFlag lets the shell complete the value of a flag with names of objects of a kind.
func (o *Options) completeFlag(c *cobra.Command, flag string, object client.Object) {
	_ = c.RegisterFlagCompletionFunc(flag, func(c *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		return o.namesStarting(c.Context(), object, typed, nil), cobra.ShellCompDirectiveNoFileComp
	})
}

// namesStarting returns the names that start with what was typed, without those given before. An
// error leaves nothing to complete: the shell has no place to print it.
func (o *Options) namesStarting(ctx context.Context, object client.Object, typed string, given []string) []string {
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completionTime)
	defer cancel()
	c, err := o.Client()
	if err != nil {
		return nil
	}
	namespace, err := o.Namespace()
	if err != nil {
		return nil
	}
	names, _ := namesOf(ctx, c, object, namespace, searched)
	return slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, typed) || slices.Contains(given, name) })
}

// completeOf lets the shell complete the value of a flag with what values returns for the rollout
// that is the first argument.
func (o *Options) completeOf(c *cobra.Command, flag string, values func(*v1alpha1.Rollout) []string) {
	_ = c.RegisterFlagCompletionFunc(flag, func(c *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return o.valuesStarting(c.Context(), withoutKind(args[0], rolloutKinds), typed, values), cobra.ShellCompDirectiveNoFileComp
	})
}

// valuesStarting returns the values of a rollout that start with what was typed.
func (o *Options) valuesStarting(ctx context.Context, rollout, typed string, values func(*v1alpha1.Rollout) []string) []string {
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completionTime)
	defer cancel()
	r := &v1alpha1.Rollout{}
	if rollout == "" || o.get(ctx, r, rollout) != nil {
		return nil
	}
	return slices.DeleteFunc(values(r), func(value string) bool { return !strings.HasPrefix(value, typed) })
}

// groupNames returns the names of the groups of a rollout.
func groupNames(r *v1alpha1.Rollout) []string {
	var names []string
	for i := range r.Status.Groups {
		names = append(names, r.Status.Groups[i].Name)
	}
	return names
}

// failureCodes returns the codes with which targets of a rollout have failed.
func failureCodes(r *v1alpha1.Rollout) []string {
	var codes []string
	for i := range r.Status.Failures {
		if code := r.Status.Failures[i].StatusCode; code != "" && !slices.Contains(codes, code) {
			codes = append(codes, code)
		}
	}
	return codes
}
