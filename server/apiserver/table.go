package apiserver

import (
	"net/http"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"codeberg.org/skiff/skiff/server/api"
	"codeberg.org/skiff/skiff/server/apiserver/codec"
)

func (q *request) tableGVK() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: metav1.GroupName, Version: q.accept.metaVersion, Kind: "Table"}
}

// respondTable answers with a table of one object.
func (q *request) respondTable(code int, gvk schema.GroupVersionKind, obj runtime.Object) error {
	o, ok := obj.(api.Object)
	if !ok || !q.hasTable() {
		return errAccept(codec.Accepted) // a review is an answer, not an object that a table could show
	}
	// Columns are written for the stored version.
	hub, err := q.hub(o)
	if err != nil {
		return err
	}
	table, err := q.table(metav1.ListMeta{ResourceVersion: o.GetResourceVersion()}, []api.Object{hub.(api.Object)})
	if err != nil {
		return err
	}
	return q.sendTable(code, table)
}

// hasTable: what is answered can be shown in rows, which of subresources with a kind of their own only scales can.
func (q *request) hasTable() bool {
	return !q.kind.Virtual && (!q.foreignBody() || q.isScale())
}

func (q *request) isScale() bool { return q.sub != nil && q.sub.GVK.Kind == "Scale" }

func (q *request) columns() []api.Column {
	if q.isScale() {
		return api.ScaleColumns
	}
	return q.kind.ColumnsOf(q.version)
}

func (q *request) respondTableList(meta metav1.ListMeta, items []api.Object) error {
	table, err := q.table(meta, items)
	if err != nil {
		return err
	}
	return q.sendTable(http.StatusOK, table)
}

func (q *request) sendTable(code int, table *metav1.Table) error {
	buf := getBuffer()
	defer putBuffer(buf)
	body, err := codec.Append(*buf, q.format(), q.tableGVK(), table)
	if err != nil {
		return err
	}
	*buf = body
	return q.w.send(q.r, code, q.contentType(), q.prettied(body))
}

// nameColumn is the first of every table.
var nameColumn = metav1.TableColumnDefinition{
	Name: "Name", Type: "string", Format: "name",
	Description: metav1.ObjectMeta{}.SwaggerDoc()["name"],
}

// table makes the rows of stored objects. The query parameter includeObject says what comes with each row.
func (q *request) table(meta metav1.ListMeta, items []api.Object) (*metav1.Table, error) {
	include := metav1.IncludeObjectPolicy(q.query.Get("includeObject"))
	switch include {
	case "", metav1.IncludeNone, metav1.IncludeMetadata, metav1.IncludeObject:
	default:
		return nil, badQuery("includeObject", string(include))
	}
	columns, now := q.columns(), q.cfg.Now()
	t := &metav1.Table{ListMeta: meta, Rows: make([]metav1.TableRow, len(items))}
	// A kind that says how its name is shown (Events, default classes) does so itself.
	named := slices.ContainsFunc(columns, func(c api.Column) bool { return c.Name == nameColumn.Name })
	t.ColumnDefinitions = make([]metav1.TableColumnDefinition, 0, len(columns)+1)
	if !named {
		t.ColumnDefinitions = append(t.ColumnDefinitions, nameColumn)
	}
	for i := range columns {
		t.ColumnDefinitions = append(t.ColumnDefinitions, columns[i].TableColumnDefinition)
	}
	for i, obj := range items {
		row := &t.Rows[i]
		row.Cells = make([]any, 0, len(columns)+1)
		if !named {
			row.Cells = append(row.Cells, obj.GetName())
		}
		for c := range columns {
			row.Cells = append(row.Cells, columns[c].Cell(obj, now))
		}
		var err error
		if row.Object, err = q.rowObject(include, obj); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func (q *request) rowObject(include metav1.IncludeObjectPolicy, obj api.Object) (runtime.RawExtension, error) {
	switch include {
	case metav1.IncludeNone:
		return runtime.RawExtension{}, nil
	case metav1.IncludeObject:
		served, err := q.served(obj)
		if err != nil {
			return runtime.RawExtension{}, err
		}
		raw, err := codec.Append(nil, codec.JSON, q.bodyGVK(), served)
		return runtime.RawExtension{Raw: raw}, err
	}
	partial, _ := partialOf(obj)
	partial.TypeMeta = metav1.TypeMeta{Kind: "PartialObjectMetadata", APIVersion: metav1.GroupName + "/" + q.accept.metaVersion}
	return runtime.RawExtension{Object: partial}, nil
}
