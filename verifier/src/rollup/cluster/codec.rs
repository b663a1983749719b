//! How plans with our tables travel: as Ballista's own, with a table in JSON.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use ballista_core::serde::{BallistaLogicalExtensionCodec, BallistaPhysicalExtensionCodec};
use datafusion::catalog::TableProvider;
use datafusion::common::{DataFusionError, Result, TableReference};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Extension, LogicalPlan};
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::logical_plan::LogicalExtensionCodec;
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};
use serde::{Deserialize, Serialize};

use super::scan::{ClusterTable, Kind, Reader, Scan, Table};

/// What stands before a scan of ours: no message of Ballista's own begins with it.
const SCAN: &[u8] = b"tallystick/scan/v1\n";

/// The codec of every node; an executor's knows by what tables are read.
#[derive(Clone)]
pub(super) struct Codec {
    reader: Option<Arc<Reader>>,
    logical: Arc<BallistaLogicalExtensionCodec>,
    physical: Arc<BallistaPhysicalExtensionCodec>,
}

impl fmt::Debug for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Codec").field("reader", &self.reader).finish_non_exhaustive()
    }
}

#[derive(Serialize, Deserialize)]
struct Travelling {
    kind: Kind,
    columns: Vec<usize>,
}

impl Codec {
    pub(super) fn new(reader: Option<Arc<Reader>>) -> Self {
        Self { reader, logical: Arc::default(), physical: Arc::default() }
    }
}

fn json(error: serde_json::Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

impl LogicalExtensionCodec for Codec {
    fn try_decode(
        &self,
        buf: &[u8],
        inputs: &[LogicalPlan],
        ctx: &TaskContext,
    ) -> Result<Extension> {
        self.logical.try_decode(buf, inputs, ctx)
    }

    fn try_encode(&self, node: &Extension, buf: &mut Vec<u8>) -> Result<()> {
        self.logical.try_encode(node, buf)
    }

    fn try_decode_table_provider(
        &self,
        buf: &[u8],
        _table_ref: &TableReference,
        _schema: SchemaRef,
        _ctx: &TaskContext,
    ) -> Result<Arc<dyn TableProvider>> {
        let table: Table = serde_json::from_slice(buf).map_err(json)?;
        Ok(Arc::new(ClusterTable::new(table, self.reader.clone())?))
    }

    fn try_encode_table_provider(
        &self,
        table_ref: &TableReference,
        node: Arc<dyn TableProvider>,
        buf: &mut Vec<u8>,
    ) -> Result<()> {
        let any: &dyn Any = node.as_ref();
        let table = any.downcast_ref::<ClusterTable>().ok_or_else(|| {
            DataFusionError::Internal(format!("{table_ref} is none of a rollup's tables"))
        })?;
        serde_json::to_writer(buf, &table.table).map_err(json)
    }
}

impl PhysicalExtensionCodec for Codec {
    fn try_decode(
        &self,
        buf: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        ctx: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(scan) = buf.strip_prefix(SCAN) else {
            return self.physical.try_decode(buf, inputs, ctx, converter);
        };
        let Travelling { kind, columns } = serde_json::from_slice(scan).map_err(json)?;
        let [chunks] = inputs else {
            return Err(DataFusionError::Internal("a scan has one input".to_owned()));
        };
        Ok(Arc::new(Scan::new(kind, columns, Arc::clone(chunks), self.reader.clone())?))
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buf: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let any: &dyn Any = node.as_ref();
        let Some(scan) = any.downcast_ref::<Scan>() else {
            return self.physical.try_encode(node, buf, converter);
        };
        buf.extend_from_slice(SCAN);
        let (kind, columns) = (scan.kind, scan.columns.clone());
        serde_json::to_writer(buf, &Travelling { kind, columns }).map_err(json)
    }
}
